"""Settings that leave an evaluation's studies out, for tests of something else: they take time."""

NO_STUDIES = {
    "robustness": {"pictures": 0},
    "explanations": {"pictures": 0},
    "trust": {"pictures": 0},
    "slices": {"least_pictures": 0},
}
#: The same, as they are given to ``--set``.
NO_STUDIES_SET = [
    f"{section}.{key}={value}"
    for section, keys in NO_STUDIES.items()
    for key, value in keys.items()
]
