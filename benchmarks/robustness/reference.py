"""The package imagecorruptions on the same pictures; runs in an environment of its own.

    python reference.py PICTURES.npz CORRUPTED.npz SEEDS

PICTURES has ``pictures``, uint8 (N, 224, 224, 3). CORRUPTED gets an array a corruption, uint8
(severities, seeds, N, 224, 224, 3); corruptions that draw nothing have one seed.
"""

import random
import sys
import warnings

import numpy as np
from imagecorruptions import corrupt, get_corruption_names

warnings.filterwarnings("ignore")

#: They draw nothing.
FIXED = ("brightness", "contrast", "defocus_blur", "jpeg_compression", "pixelate", "zoom_blur")


def main():
    with np.load(sys.argv[1], allow_pickle=False) as file:
        pictures = file["pictures"]
    results = {}
    for name in get_corruption_names():
        seeds = 1 if name in FIXED else int(sys.argv[3])
        rows = []
        for severity in range(1, 6):
            for seed in range(seeds):
                np.random.seed(seed)
                random.seed(seed)
                rows += [corrupt(p, corruption_name=name, severity=severity) for p in pictures]
        results[name] = np.array(rows, np.uint8).reshape(5, seeds, *pictures.shape)
        print(name, flush=True)
    np.savez(sys.argv[2], **results)


if __name__ == "__main__":
    main()
