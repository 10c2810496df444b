"""Where data sets come from, under which terms, and what to expect: texts for people. Nothing
here is run.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from ttt_bench.data.taskonomy.splits import EXCLUDED

_LICENCES = """\
Read the terms first; by downloading you agree to them, and nobody can do that for you:
  Taskonomy  https://github.com/StanfordVL/taskonomy/blob/master/data/LICENSE
  Omnidata   https://raw.githubusercontent.com/EPFL-VILAB/omnidata-tools/main/LICENSE
Both: research or education without profit, no redistribution of any part, citation. Those of 2D-3D-S, Gibson and
Matterport are appended."""

_ABOUT = """\
Things that have gone wrong for others:
  - The domain is `normal`: `normals` matches nothing, and the download ends at once with nothing.
  - --agree_all wants --name and --email, which are sent to a Google form; --agree alone is refused without them.
  - Leave --split alone: with train, val or test nothing is selected.
  - --aria2_create_server False, because aria2c would otherwise listen on every network interface without a password.
  - A folder `tmp...` in the destination is left over from an interrupted run; a domain's folder that exists is skipped
    even if it is incomplete.
  - No mask_valid is published for Taskonomy, and none is needed.
Room: about 300 GB for the whole tiny subset, and the archives beside it while they are unpacked. The test buildings
alone take 50 GB. A cache at 256x256 (`ttt-bench data prepare taskonomy --size 256 --out OTHER_ROOT`) takes a third of
what the files take that it is made of, with --jpeg a quarter.
Archives that were downloaded by hand ({building}_{domain}.tar):
  ttt-bench data prepare taskonomy ARCHIVES... --data-root DATA_ROOT"""

NYUD_ARCHIVES = (
    "NYUDv2.tar.gz (425x560, the published results') or NYUD_MT.tgz, 1,449 images (795 + 654). The ETH links "
    "(data.vision.ee.ethz.ch/brdavid/atrc) return 404; the READMEs of the GitHub repositories Multi-Task-Transformer "
    "and MLoRE name mirrors that work now"
)
NYUD_RAW = (
    "nyu_depth_v2_labeled.mat, 2,972,037,809 bytes, an HDF5 file, from the data set's page (NYU Depth Dataset V2, "
    "cs.nyu.edu/~silberman)"
)
NYUD_SPLITS = (
    "splits.mat, a few kilobytes, with trainNdxs (795 frame numbers) and testNdxs (654), from the page of "
    "nyu_depth_v2_labeled.mat"
)
NYUD_CLASSES = (
    "classMapping40.mat, a few kilobytes, with mapClass (1x894: the 40-class id of each raw label), from the code of "
    "Gupta, Arbelaez and Malik's indoor segmentation"
)
PASCAL_ARCHIVES = (
    "PASCALContext.tar.gz or PASCAL_MT.tgz, 10,103 images (4,998 + 5,105). The ETH links (data.vision.ee.ethz.ch/"
    "brdavid/atrc) return 404; the READMEs of the GitHub repositories Multi-Task-Transformer and MLoRE name mirrors "
    "that work now"
)
PASCAL_VOC = "VOCtrainval_03-May-2010.tar, about 1.3 GB, or its folder VOCdevkit/VOC2010; the images of PASCAL VOC 2010 trainval"
PASCAL_CONTEXT = (
    "trainval.tar.gz, 10,103 .mat files with 459 labels, or its folder; the Stanford address is dead, the author's "
    "https://www.roozbehm.info/pascal-context/trainval.tar.gz has it"
)
PASCAL_LISTS = (
    "a folder with train.txt (4,998 ids) and val.txt (5,105 ids), the Context lists; every multi-task archive has them "
    "in ImageSets/Context"
)


def taskonomy_text(destination: Path) -> str:
    """How to get Taskonomy into a folder: terms, command, and what to look out for."""
    archives = destination.with_name(f"{destination.name}-archives")
    where, packed = shlex.quote(str(destination)), shlex.quote(str(archives))
    there = shutil.which("aria2c")
    aria2 = (
        f"found at {there}"
        if there
        else "required and not found on PATH: install the package aria2"
    )
    return f"""\
{_LICENCES}

The public downloader (not run by ttt-bench; NAME and EMAIL are yours to fill in):
  pip install omnidata-tools==0.0.21
  omnitools.download rgb depth_zbuffer normal edge_occlusion segment_semantic \\
    --components taskonomy --subset tiny --aria2_create_server False \\
    --dest {where} --dest_compressed {packed} \\
    --name NAME --email EMAIL --agree_all
aria2c, the program that it downloads with: {aria2}.

{_ABOUT}
{EXCLUDED["woodbine"]}"""
