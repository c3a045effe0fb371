"""roibank against PatchCore and PaDiM with the same backbone, and what its parts are good for.

    python benchmarks/roibank.py compare     # every set, 3 seeds; goes on where it stopped
    python benchmarks/roibank.py ablation    # the ROI head with and without synthetic defects; known defects
    python benchmarks/roibank.py crop        # a graph that looks at the ROI's box only
    python benchmarks/roibank.py cost        # time to fit, time per image and memory beside PatchCore
    python benchmarks/roibank.py --tables    # puts the results into docs/roibank.md

PatchCore keeps 1 % of its patches (one of its paper's two settings, PatchCore-1%): anomalib's default of 10 %
takes hours here. Needs ``pip install 'roinspect[peers,weights]'`` and the images in ROINSPECT_DATA.
"""
