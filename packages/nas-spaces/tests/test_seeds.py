import itertools

from nas_spaces import derive_seed


def test_seeds_are_fixed_and_fit_64_bits():
    seeds = [derive_seed(7, *path) for path in itertools.product(range(20), range(20))]
    assert seeds == [derive_seed(7, *path) for path in itertools.product(range(20), range(20))]
    assert len(set(seeds)) == 400
    assert all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)


def test_every_number_of_the_path_counts():
    paths = [(7,), (7, 0), (7, 1), (8, 1), (7, 1, 0), (7, 0, 1)]
    assert len({derive_seed(*path) for path in paths}) == len(paths)
