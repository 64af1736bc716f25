"""Whether there is a process, as /proc tells."""

import pytest

from wattshed.agent.jobs.procfs import PF_KTHREAD, exists


def stat(flags):
    return f"7 (a) b) S 1 7 7 0 -1 {flags} 0 0\n"


@pytest.mark.parametrize(
    ("pid", "text", "there"),
    [
        (7, stat(4_194_560), True),
        (7, stat(PF_KTHREAD | 64), False),
        (7, "7 (a", True),
        (7, None, False),
        (0, stat(0), False),
    ],
)
def test_who_can_be_on_a_gpu(tmp_path, pid, text, there):
    if text is not None:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(text)
    assert exists(tmp_path, pid) == there


def test_a_kernel_thread_is_on_no_gpu(tmp_path):
    for pid, flags in ((2, 0x208040), (30, 0x400000)):
        (tmp_path / str(pid)).mkdir()
        text = f"{pid} (a) b) S 0 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n"
        (tmp_path / str(pid) / "stat").write_text(text)
    (tmp_path / "31").mkdir()
    (tmp_path / "0").mkdir()
    assert [exists(tmp_path, pid) for pid in (0, 2, 30, 31, 32)] == [False, False, True, True, False]
