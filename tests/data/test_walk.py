"""What lies below a folder is found once, whatever links lead where."""

from __future__ import annotations

from pathlib import Path

from roinspect.data.walk import find_files


def test_hidden_files_and_other_kinds_are_passed_over(tmp_path: Path) -> None:
    for name in ("b.png", "A.PNG", "sub/c.png", ".d.png", ".hidden/e.png", "f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_files(tmp_path, {".png"})
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["A.PNG", "b.png", "sub/c.png"]


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    for name in ("one", "two"):
        (watched / name).mkdir(parents=True)
        (watched / name / f"{name}.png").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/far.png").touch()
    (watched / "linked").symlink_to(tmp_path / "elsewhere")
    (watched / "one/up").symlink_to(watched)
    (watched / "one/over").symlink_to(watched / "two")
    (watched / "two/back").symlink_to(watched / "one")
    (watched / "two/out").symlink_to(tmp_path)
    found = [path.relative_to(watched).as_posix() for path in find_files(watched, {".png"})]
    # Two ways into a folder are two places; the way back into one that it lies in is none.
    assert found == [
        "linked/far.png",
        "one/one.png",
        "one/over/out/elsewhere/far.png",
        "one/over/two.png",
        "two/back/one.png",
        "two/out/elsewhere/far.png",
        "two/two.png",
    ]
