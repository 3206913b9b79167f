"""`minires add-classes MODEL --data FOLDER --output DIR`: new classes from a few pictures, without training."""

from collections.abc import Sequence

from minires.cli import output
from minires.cli.options import Parser, add_common
from minires.errors import UsageError

EXAMPLES = """  minires finetune --data photos/ --loss arcface --output runs/photos
  minires add-classes runs/photos --data new/ --output models/more        new/CLASS/*.jpg, five of each, say
  minires predict models/more a.jpg"""


def run(name: str, words: Sequence[str]) -> int:
    """The command."""
    from minires.finetune.new_classes import add_classes

    text = ("Give a model that was trained with --loss arcface, cosface or triplet new classes: the means of the "
            "embeddings of a few pictures of each. The model itself stays as it is.")  # fmt: skip
    parser = Parser(name, text, EXAMPLES)
    parser.add_argument(
        "model", metavar="MODEL", help="a run folder, the model folder in it, or one of its checkpoints"
    )
    parser.add_argument("--data", "--data-dir", "--data-path", metavar="FOLDER", help="a folder for each new class, "
                        "called as it is, with pictures")  # fmt: skip
    parser.add_argument("--output", metavar="DIR", help="the folder of the new model")
    add_common(parser)
    given = parser.read(words)
    for flag in ("data", "output"):
        if given.get(flag) is None:
            raise UsageError(f"give --{flag}", code="usage.arguments", hint=f"minires {name} --help")
    found = add_classes(given["model"], given["data"], given["output"])
    if given.get("json"):
        output.result_json(found.to_dict())
        return 0
    counts = ", ".join(f"{label} ({count} pictures)" for label, count in found.added.items())
    output.result(f"{found.path}: {len(found.classes)} classes, new are {counts}\n"
                  f"of the pictures themselves {found.right} of {found.pictures} are given their class\n"
                  f"next: minires predict {found.path} PICTURE...")  # fmt: skip
    return 0
