"""Compiled kernels are kept only where it is safe, apart for every version."""

import os
from pathlib import Path

import pytest

from wattshed.kernels import cache


@pytest.fixture
def fresh(monkeypatch):
    """cache_folder as in a new process, with nothing given."""
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    cache._looked_for.cache_clear()
    yield monkeypatch
    cache._looked_for.cache_clear()


def test_the_given_folder_is_used_and_private(fresh, tmp_path):
    fresh.setenv("NUMBA_CACHE_DIR", str(tmp_path / "given"))
    found = cache.cache_folder()
    assert found.parent == tmp_path / "given"
    assert found.stat().st_mode & 0o777 == 0o700


def test_without_any_safe_place_there_is_no_cache_and_no_crash(fresh, tmp_path):
    shut = tmp_path / "file"
    shut.write_text("")
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        fresh.setenv(name, str(shut))
    fresh.setattr(cache.tempfile, "gettempdir", lambda: str(shut))
    assert cache.cache_folder() is None


def test_the_home_directory_is_next(fresh, tmp_path):
    fresh.setenv("HOME", str(tmp_path))
    assert cache.cache_folder().parent == tmp_path / ".cache" / "wattshed"


def test_a_folder_that_others_may_write_in_is_not_trusted(fresh, tmp_path):
    fresh.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    name = cache.cache_folder().name
    cache._looked_for.cache_clear()
    (tmp_path / name).chmod(0o777)
    fresh.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_folder().parent == tmp_path / "home" / ".cache" / "wattshed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_in_somebody_elses_is_not_trusted(fresh, tmp_path):
    """Who owns the folder around ours can put another one in its place."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12_345, 12_345)
    fresh.setenv("NUMBA_CACHE_DIR", str(tmp_path / "theirs"))
    fresh.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_folder().parent == tmp_path / "home" / ".cache" / "wattshed"


def test_a_link_that_somebody_laid_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert cache.refusal(tmp_path / "link") == "it is no folder, or a link"


def test_pruning_leaves_only_this_version(fresh, tmp_path):
    fresh.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    mine = cache.cache_folder()
    (tmp_path / "kernels-0123456789abcdef" / "more").mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    cache.prune_cache()
    assert sorted(tmp_path.iterdir()) == sorted([mine, tmp_path / "precious"])


def test_any_change_of_a_source_is_another_version(fresh, tmp_path):
    before = cache.sources_digest()
    (tmp_path / "one.py").write_text("a = 1\n")
    fresh.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    first = cache.sources_digest.__wrapped__()
    (tmp_path / "one.py").write_text("a = 2\n")
    assert len({before, first, cache.sources_digest.__wrapped__()}) == 3


def test_no_source_writes_beside_itself():
    assert not list((Path(cache.__file__).parent).rglob("*.nbi"))
