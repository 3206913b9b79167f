"""Hand-written CUDA kernels: real .cu files, one family a file, and one table that says how each is launched.

    *.cu, *.cuh     the kernels; each file opens with its formulas, its launch shape and the bytes it has to move
    table.py        every kernel: file, template instances, arguments, launch rule
    launch.py       grid, block and shared memory from the sizes of a call
    source.py       one file's text with its includes put in
    loader.py       compiles and launches with CuPy; imports it when first asked
    adapters/       the set "cuda" of minires.kernels: the reference's signatures in front of all this

Importing this package needs no GPU and no CuPy. The kernels are checked on machines without a GPU: tests/cuda runs
each of them on the CPU and compiles each instance to machine code.
"""
