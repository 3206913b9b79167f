"""XML as data: elements and text. No document types, and so no entities that could swell or reach for other files."""

import os
from typing import Any
from xml.parsers import expat

from minires.data.reading import read_bytes
from minires.errors import FileFormatError

MAX_BYTES, _DEEPEST, _MOST = 16 << 20, 50, 200_000


class Element:
    """One element: its `tag`, its `text` (stripped) and its `children` in order. Attributes are left out."""

    def __init__(self, tag: str) -> None:
        self.tag, self.text = tag, ""
        self.children: list[Element] = []


def read_xml(path: str | os.PathLike[str], what: str) -> Element:
    """The outermost element of a file.

    Raises DataError for a file that cannot be read; FileFormatError with the byte for what is not well-formed, for a
    document type, and for more than MAX_BYTES, 50 elements inside each other or 200,000 in all.
    """
    content = read_bytes(path, what)
    if len(content) > MAX_BYTES:
        raise FileFormatError(path, MAX_BYTES, f"{len(content)} bytes are more than the limit of {MAX_BYTES}")
    root = Element("")
    stack, texts, count = [root], [[""]], 0
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def fault(reason: str) -> FileFormatError:
        return FileFormatError(path, max(parser.CurrentByteIndex, 0), reason)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(stack) > _DEEPEST or count > _MOST:
            raise fault("more elements, or more inside each other, than any annotation has")
        element = Element(tag)
        stack[-1].children.append(element)
        stack.append(element)
        texts.append([])

    def end(tag: str) -> None:
        stack.pop().text = "".join(texts.pop()).strip()

    def refuse(*details: Any) -> None:
        raise fault("a document type, which data do not need: it could hold entities that harm")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = lambda text: texts[-1].append(text)
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise FileFormatError(path, max(parser.ErrorByteIndex, 0), f"no well-formed XML: {error}") from error
    except (LookupError, ValueError) as error:  # an encoding that Python does not know
        raise fault(f"no readable XML: {error}") from error
    return root.children[0]
