"""What the pages under docs say can be typed, works when typed, from the top of a page to its end."""

import pathlib
import re

import pytest

PAGES = sorted((pathlib.Path(__file__).parents[1] / "docs").glob("*.md"))
BLOCKS = {page.stem: re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL) for page in PAGES}

pytestmark = pytest.mark.usefixtures("programs_compile_fast")


def test_there_is_something_to_type():
    assert len(BLOCKS["own_models"]) > 5


@pytest.mark.parametrize("page", [page for page, blocks in BLOCKS.items() if blocks])
def test_python_blocks_run_one_after_the_other(page, capsys):
    names: dict[str, object] = {}
    for block in BLOCKS[page]:
        exec(compile(block, f"docs/{page}.md", "exec"), names)
    if page == "own_models":
        shown = capsys.readouterr().out
        assert "Layer(name='block2/relu', shape=(16, 16, 16), stride=2.0, offset=1.0, receptive_field=5)" in shown
        assert "(32, 32, 3)" in shown
