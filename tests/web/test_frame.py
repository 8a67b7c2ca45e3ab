import pytest

from pixloop.web.rendering import PAGES


@pytest.mark.parametrize("path", [path for path, _, _ in PAGES])
@pytest.mark.parametrize("which", ["client", "new_client"])
def test_every_page_answers(path, which, request):
    answer = request.getfixturevalue(which).get(path)
    assert answer.status_code == 200, answer.text
    assert 'aria-current="page"' in answer.text
