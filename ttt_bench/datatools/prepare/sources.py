"""Texts on where to get data sets, under which terms, and what to expect. Nothing here is run."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from ttt_bench.data.taskonomy.splits import EXCLUDED

_LICENCES = """\
Read the terms first; by downloading you agree to them, and only you can do that:
  Taskonomy  https://github.com/StanfordVL/taskonomy/blob/master/data/LICENSE
  Omnidata   https://raw.githubusercontent.com/EPFL-VILAB/omnidata-tools/main/LICENSE
Both allow non-profit research or education, forbid redistribution of any part, and ask for a
citation. The terms of 2D-3D-S, Gibson and Matterport are appended to them."""

_ABOUT = """\
Known problems:
  - The domain is `normal`. `normals` matches nothing, and the download ends at once with no file.
  - --agree_all needs --name and --email, which are sent to a Google form; --agree alone is refused
    without them.
  - Do not set --split: train, val and test select nothing.
  - Use --aria2_create_server False; otherwise aria2c listens on all network interfaces without a
    password.
  - A folder `tmp...` in the destination is left over from an interrupted run. An existing folder of
    a domain is skipped even if it is incomplete.
  - No mask_valid is published for Taskonomy, and it is not needed.
Space: about 300 GB for the whole tiny subset, plus its archives while they are unpacked. The test
buildings alone take 50 GB. A cache at 256x256 (`ttt-bench data prepare taskonomy --size 256 --out
OTHER_ROOT`) takes a third of its original files, with --jpeg a quarter.
For archives that were downloaded by hand ({building}_{domain}.tar):
  ttt-bench data prepare taskonomy ARCHIVES... --data-root DATA_ROOT"""

_MIRRORS = (
    "The ETH links (data.vision.ee.ethz.ch/brdavid/atrc) return 404; the READMEs of the GitHub "
    "repositories Multi-Task-Transformer and MLoRE name working mirrors"
)
NYUD_ARCHIVES = (
    "NYUDv2.tar.gz (425x560, used by the published results) or NYUD_MT.tgz, 1,449 images "
    f"(795 + 654). {_MIRRORS}"
)
NYUD_RAW = (
    "nyu_depth_v2_labeled.mat, 2,972,037,809 bytes, an HDF5 file, from the page of the data set "
    "(NYU Depth Dataset V2, cs.nyu.edu/~silberman)"
)
NYUD_SPLITS = (
    "splits.mat, a few kilobytes, with trainNdxs (795 frame numbers) and testNdxs (654), from the "
    "page of nyu_depth_v2_labeled.mat"
)
NYUD_CLASSES = (
    "classMapping40.mat, a few kilobytes, with mapClass (1x894: the 40-class id of each raw "
    "label), from the code of the indoor segmentation by Gupta, Arbelaez and Malik"
)
PASCAL_ARCHIVES = (
    f"PASCALContext.tar.gz or PASCAL_MT.tgz, 10,103 images (4,998 + 5,105). {_MIRRORS}"
)
PASCAL_VOC = (
    "VOCtrainval_03-May-2010.tar, about 1.3 GB, or its folder VOCdevkit/VOC2010; the images of "
    "PASCAL VOC 2010 trainval"
)
PASCAL_CONTEXT = (
    "trainval.tar.gz, 10,103 .mat files with 459 labels, or its folder; the Stanford address is "
    "dead, the author's https://www.roozbehm.info/pascal-context/trainval.tar.gz has it"
)
PASCAL_LISTS = (
    "a folder with train.txt (4,998 ids) and val.txt (5,105 ids), the Context lists; every "
    "multi-task archive has them in ImageSets/Context"
)


def taskonomy_text(destination: Path) -> str:
    """Return how to download Taskonomy into a folder: terms, command and known problems."""
    archives = destination.with_name(f"{destination.name}-archives")
    where, packed = shlex.quote(str(destination)), shlex.quote(str(archives))
    program = shutil.which("aria2c")
    aria2 = "required and not found on PATH: install the package aria2"
    if program:
        aria2 = f"found at {program}"
    return f"""\
{_LICENCES}

The public downloader (ttt-bench does not run it; fill in NAME and EMAIL):
  pip install omnidata-tools==0.0.21
  omnitools.download rgb depth_zbuffer normal edge_occlusion segment_semantic \\
    --components taskonomy --subset tiny --aria2_create_server False \\
    --dest {where} --dest_compressed {packed} \\
    --name NAME --email EMAIL --agree_all
aria2c, the program that it downloads with: {aria2}.

{_ABOUT}
{EXCLUDED["woodbine"]}"""
