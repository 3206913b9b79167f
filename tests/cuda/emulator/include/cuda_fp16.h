// language/half.h, which is always included, stands for this header of CUDA.
