"""Listings of folders that links lead through."""

from pathlib import Path

from septet.pipelines.sources.listing import list_files


def names(folder: Path, *bounds: str) -> list[str]:
    return [entry.name for entry in list_files(str(folder), *bounds)]


def put(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def test_folders_that_all_link_to_each_other_are_listed_once(tmp_path: Path) -> None:
    folders = [f"{number:02}" for number in range(14)]  # 14! ways through them
    for name in folders:
        put(tmp_path / "set", f"{name}/x.jpg")
        put(tmp_path / "outside", f"{name}/y.jpg")
    for name in folders:
        for other in folders:
            (tmp_path / f"set/{name}/to{other}").symlink_to(f"../{other}")
            (tmp_path / f"outside/{name}/to{other}").symlink_to(f"../{other}")
    (tmp_path / "set/03/out").symlink_to("../../outside/05")
    found = names(tmp_path / "set")
    own = [f"{name}/x.jpg" for name in folders]
    behind = [f"03/out/to{name}/y.jpg" for name in folders if name != "05"]
    assert found == sorted([*own, "03/out/y.jpg", *behind])
    for cut in (1, 5, 17, len(found) - 1):
        assert [*names(tmp_path / "set", "", found[cut]), *names(tmp_path / "set", found[cut])] == found  # fmt: skip


def test_a_folder_has_its_own_name_before_that_of_a_link(tmp_path: Path) -> None:
    put(tmp_path / "set", "b/x.jpg")
    put(tmp_path / "out", "deep/y.jpg")
    (tmp_path / "set/a").symlink_to("b")
    (tmp_path / "set/z").symlink_to("../out/deep")
    (tmp_path / "set/c").symlink_to("../out")
    (tmp_path / "set/up").symlink_to("..")
    assert names(tmp_path / "set") == ["b/x.jpg", "c/deep/y.jpg"]
