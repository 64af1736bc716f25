"""Lives in virtual time end within this process: what they wrote need not outlive the machine."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """Books are synced with every window: a life that is lived a thousand times faster would mostly wait for that.

    That they are, and what becomes of a slow disk, is tested in ``tests/accounts/test_books.py``.
    """
    monkeypatch.setattr(os, "fsync", lambda _: None)
