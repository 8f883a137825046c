"""Every example in the documents that is written with >>> runs and gives what it says."""

import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def examples(path: Path) -> list[tuple[int, str]]:
    """Line and text of each block of Python with a prompt."""
    text = path.read_text()
    found = [(text.count("\n", 0, block.start(1)), block.group(1)) for block in BLOCK.finditer(text)]
    return [(line, block) for line, block in found if block.startswith(">>>")]


WITH_EXAMPLES = [path for path in sorted(DOCS.glob("*.md")) if examples(path)]


def test_there_are_some():
    assert "posterior.md" in {path.name for path in WITH_EXAMPLES}


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_in_documents_give_what_they_say(path: Path, tmp_path, monkeypatch):
    """The blocks of one document share their names, as a reader does who follows from top to bottom."""
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner, parser, names = doctest.DocTestRunner(), doctest.DocTestParser(), {}
    for line, block in examples(path):
        test = parser.get_doctest(block, names, path.name, str(path), line)
        runner.run(test, out=said.append, clear_globs=False)
        names = test.globs
    assert runner.failures == 0, "".join(said)
