"""Sums of turned series are the integers that adding up copy by copy gives."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.kernels.battery import turned
from wattshed.kernels import cuda_convolution
from wattshed.kernels.convolution import MOST, TurnedSums


def added_up(series, counts):
    """The sums of sets of copies, in Python's integers."""
    each, steps = series.shape
    return [
        [
            sum(int(of[j, s]) * int(series[j, (t - s) % steps]) for j in range(each) for s in range(steps))
            for t in range(steps)
        ]
        for of in counts
    ]


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 10**9), st.integers(0, 61), st.integers(0, 99))
def test_sums_are_those_of_copy_by_copy(each, steps, copies, bits, seed):
    random = np.random.default_rng(seed)
    largest = max(min(1 << bits, (MOST - 1) // copies), 1)
    series = random.integers(-largest, largest + 1, (each, steps))
    counts = random.multinomial(copies, np.full(each * steps, 1 / (each * steps)), 2).reshape(2, each, steps)
    assume(copies * int(np.abs(series).max()) < MOST)
    sums = TurnedSums(series, copies)
    assert sums(counts).tolist() == added_up(series, counts)
    assert pickle.loads(pickle.dumps(sums))(counts).tolist() == sums(counts).tolist()


def test_what_other_machines_are_compared_with_is_right():
    for series, copies, counts in turned():
        assert TurnedSums(series, copies)(counts).tolist() == added_up(series, counts)


def test_what_could_not_be_added_up_is_refused():
    with pytest.raises(ValueError, match="more than can be added up"):
        TurnedSums(np.array([[1 << 40]]), 1 << 22)
    with pytest.raises(ValueError, match="at most 21845 series"):
        cuda_convolution.TurnedOnCard(np.zeros((30_000, 1), np.int64))


MODULI = list(zip(cuda_convolution.PRIMES, cuda_convolution.GENERATORS, strict=True))


@pytest.mark.parametrize(("prime", "generator"), MODULI)
def test_the_moduli_are_primes_with_roots_of_unity(prime, generator):
    assert all(prime % d for d in range(3, int(prime**0.5) + 1, 2))
    assert (prime - 1) % cuda_convolution.LONGEST == 0
    assert prime < 2**31
    # A generator is no power of any of the factors of the group's order.
    factors = [d for d in (2, 3, 5, 7, 11, 13) if (prime - 1) % d == 0]
    rest = prime - 1
    for d in factors:
        while rest % d == 0:
            rest //= d
    assert rest == 1
    assert all(pow(generator, (prime - 1) // d, prime) != 1 for d in factors)


def test_roots_go_round_half_a_circle():
    for length in (1, 2, 8, 64):
        for prime, roots in zip(cuda_convolution.PRIMES, cuda_convolution.roots_of(length).tolist(), strict=True):
            assert roots[0] == 1
            step = roots[1] if length > 2 else prime - 1
            assert all(b == a * step % prime for a, b in pairwise(roots))
            if length > 1:
                assert roots[-1] * step % prime == prime - 1
