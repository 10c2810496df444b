"""My rooms: photographs with an image of class numbers and one of depth in millimetres."""

import numpy as np

from ttt_bench.data.domains import Domain
from ttt_bench.data.images.file_dataset import SampledDataset
from ttt_bench.data.images.files import GREY16, LABELS, PHOTO, fingerprint, read_image
from ttt_bench.errors import DataError
from ttt_bench.util.hashing import hash_of

DOMAIN = Domain(
    name="myrooms",
    description="my own rooms: photographs, classes drawn by hand, depth from a sensor",
    tasks=("semseg", "depth"),
    folder="myrooms",
    opener="my_rooms:MyRooms",
    # my numbers for refrigerator, table, toilet, sofa, bed, sink, chair
    label_ids={"taskonomy_nyud_7": ((), (2,), (), (), (3,), (), (1, 4))},
)


class MyRooms(SampledDataset):
    """DATA_ROOT/myrooms/SPLIT/images/NAME.png, with classes/NAME.png and depth/NAME.png."""

    domain = "myrooms"

    def __init__(self, root, split, size, progress, *, space, variant):
        self.folder, self.size = root / split, size
        self.names = sorted(path.stem for path in (self.folder / "images").glob("*.png"))
        if not self.names:
            folder = self.folder / "images"
            raise DataError(f"my rooms: {folder} has no image NAME.png; put images into it")
        self.tasks = ("semseg", "depth") if space else ("depth",)
        self.classes = space.table("myrooms") if space else None
        files = fingerprint(self, ("images", "classes", "depth"), "looking at my rooms", progress)
        labels = space.record(["myrooms"]) if space else None
        self.fingerprint = hash_of([files, size, labels])

    def __len__(self):
        return len(self.names)

    def name(self, index):
        return self.names[index]

    def path(self, index, part):
        return self.folder / part / f"{self.names[index]}.png"

    def sample(self, index):
        image = read_image(self.path(index, "images"), PHOTO)
        millimetres = read_image(self.path(index, "depth"), GREY16)
        metres = np.where(millimetres == 0, 255, millimetres / 1000)
        # (H, W, 3) -> (3, H, W), and (H, W) -> (1, H, W)
        sample = {"image": image.transpose(2, 0, 1), "depth": metres[None].astype("float32")}
        if self.classes is not None:
            sample["semseg"] = self.classes[read_image(self.path(index, "classes"), LABELS)]
        return sample
