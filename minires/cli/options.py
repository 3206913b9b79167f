"""Flags: an argparse that answers typos with the nearest name and knows what other tools call things."""

import argparse
import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from minires.cli.habits import NOT_BUILT, NOT_NEEDED, OTHER_NAMES
from minires.errors import UsageError

BASE = "where MODEL is a delta.safetensors: the weights that it was made of (a file, folder, URL or built-in name)"
DEVICE = "what computes: cpu, cuda (a GPU), cuda:1 (the second one), or auto: a GPU if there is one (default: cpu)"
TTA = "views of each picture (mirrored, moved) whose answers are averaged, 1 to 10 (default: 1)"


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean ...?", or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of ending the process; shortens no flag."""

    def __init__(self, command: str, text: str, examples: str) -> None:
        super().__init__(
            f"minires {command}", description=text, epilog="examples:\n" + examples.rstrip(), allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter, argument_default=argparse.SUPPRESS,
        )  # fmt: skip

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, code="usage.arguments", hint=f"{self.prog} --help")

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        """The flags that were given, by name."""
        found, rest = self.parse_known_args(list(words))
        if rest:
            raise self.together(rest)
        return vars(found)

    def together(self, rest: Sequence[str]) -> UsageError:
        """One answer to all that was not understood: whoever pastes a recipe sees the whole of what to change."""
        flags = [word for word in rest if word.startswith("-") and not _is_number(word)]
        if not flags:
            return self.unexpected(rest[0])
        if rest[0] not in flags:
            return self.unexpected(rest[0])
        errors = [self.unknown(flag) for flag in dict.fromkeys(word.partition("=")[0] for word in flags)]
        message = "; ".join(error.message for error in errors)
        return UsageError(message, code=errors[0].code, hint=errors[0].hint)

    def unknown(self, word: str) -> UsageError:
        """The answer to a flag that is not one of ours."""
        word = word.replace("_", "-")
        if word in NOT_BUILT:
            reason = f" ({NOT_BUILT[word]})" if NOT_BUILT[word] else ""
            return UsageError(f"{word} is not built yet in minires{reason}", code="usage.not_built")
        if word in NOT_NEEDED:
            return UsageError(f"{word} is not needed: {NOT_NEEDED[word]}", code="usage.unknown")
        if word in OTHER_NAMES:
            return UsageError(f"no flag {word}: here it is {OTHER_NAMES[word]}", code="usage.unknown")
        if word == "--model" and any(action.dest == "model" for action in self._actions):
            return UsageError("no flag --model: here the model comes first, without a flag", code="usage.unknown",
                              hint=f"{self.prog} MODEL ...")  # fmt: skip
        return UsageError(f"no flag {word}{nearest(word, self._flags())}", code="usage.unknown",
                          hint=f"{self.prog} --help")  # fmt: skip

    def unexpected(self, word: str) -> UsageError:
        """The answer to a word without a flag: the folder of pictures, as for timm, or Ultralytics's epochs=3."""
        name, sign, value = word.partition("=")
        flag = "--" + name.replace("_", "-")
        if sign and flag not in self._flags():
            return self.unknown(flag)
        wish = f"{flag} {value}" if sign else f"--data {word}"
        hint = f"; did you mean {wish}?" if sign or "--data" in self._flags() else ""
        return UsageError(f"unexpected argument {word!r}{hint}", code="usage.arguments", hint=f"{self.prog} --help")

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]


def add_common(parser: argparse.ArgumentParser, json_too: bool = True) -> None:
    """Flags that every command has."""
    if json_too:
        parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("-q", "--quiet", action="store_true", help="nothing on stderr but warnings and errors")
    parser.add_argument("-vv", action="store_true", dest="debug", help="a traceback with an error (MINIRES_DEBUG=1)")


def count(given: dict[str, Any], name: str, default: int) -> int:
    """A number of at least 1 that was given on the command line. Raises UsageError naming the flag."""
    text = given.get(name, default)
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag} must be a whole number of at least 1, got {text}", code="usage.value")
    return number


def add_setting(parser: Any, field: dataclasses.Field) -> None:
    """The flag of one entry of the settings' table. Values stay text: the settings check their type and range."""
    flag, facts = "--" + field.name.replace("_", "-"), field.metadata
    text, default = facts["help"], field.default
    if facts["choices"]:
        text += f": {', '.join(facts['choices'])}" if ": " not in text else ""
    if default not in (None, False, (), "none") and not (facts["kind"] == "int" and default == 1):
        shown = ",".join(f"{item:g}" for item in default) if isinstance(default, tuple) else str(default)
        text += f" (default: {shown})"
    short = [alias for alias in facts["aliases"] if len(alias) <= 3]
    names = [*short, flag, *(alias for alias in facts["aliases"] if alias not in short)]
    if facts["kind"] == "bool":
        parser.add_argument(*names, dest=field.name, action="store_true", help=text)
    elif facts["bare"] is not None:
        metavar = "X" if facts["kind"] == "float" else "TYPE"
        parser.add_argument(*names, dest=field.name, metavar=metavar, nargs="?", const=facts["bare"], help=text)
    elif facts["kind"] == "words":
        parser.add_argument(*names, dest=field.name, metavar="TEXT", nargs="+", help=text)
    else:
        signs = {"int": "N", "float": "X", "ints": "N,N", "floats": "X,X", "split": "NAME|X",
                 "duration": "TIME", "cadence": "N|TIME", "workers": "N|auto"}  # fmt: skip
        metavar = signs.get(facts["kind"], "TEXT")
        parser.add_argument(*names, dest=field.name, metavar=metavar, help=text.replace("%", "%%"))
