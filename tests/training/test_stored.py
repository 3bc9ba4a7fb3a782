"""Training on features that a frozen backbone made is the training that sees the clips each time."""

import copy

import numpy as np
import torch

from litemkd.config import TrainConfig
from litemkd.data.packs.clips import Augmentation, ClipSource
from litemkd.evaluation.accuracy import ValEpisodes
from litemkd.evaluation.embedding import backbone_features
from litemkd.losses import LABELS
from litemkd.models.passes import Passes
from litemkd.models.student import LABEL
from litemkd.models.tuned import Given, tune
from litemkd.models.tuning import Tuning
from litemkd.storage.array_cache import ArrayCache
from litemkd.storage.states import CheckpointFolder
from litemkd.training.loop import fit
from litemkd.training.objectives import StudentObjective
from litemkd.training.stored import StoredFeatures, View
from tests.training.test_objectives import SIDE, TRAIN_CLIPS, VAL, VAL_CLIPS, sampler_of, student_of

STILL = Augmentation(flip=False)
TRAIN = TrainConfig(
    episodes=6, accumulate=2, batch=1, optimizer="adamw", lr=1e-3, validations=2, schedule="constant"
)


class Silent:
    def log_metrics(self, metrics, step):
        pass


class Centred(ClipSource):
    """Training clips that are centre crops."""

    def __init__(self, clips):
        self.__dict__.update(clips.__dict__)

    def finish(self, cut):
        return cut

    def cut(self, videos, augmentation, seed, number):
        return self.centred(videos)


def frozen():
    student = student_of(branches=(LABEL,))
    tune(student, Tuning.read("frozen"))
    return student


def test_the_weights_are_those_of_a_training_that_sees_the_clips(tmp_path):
    seen, behind = frozen(), frozen()
    backbone = behind.backbone.eval()
    stored = {
        clips: StoredFeatures([backbone_features(backbone, clips)], clips) for clips in (TRAIN_CLIPS, VAL_CLIPS)
    }
    models = (seen, behind.behind(Given(backbone)))
    sources = ((Centred(TRAIN_CLIPS), VAL_CLIPS), (stored[TRAIN_CLIPS], stored[VAL_CLIPS]))
    told = []
    for place, (model, (train, val)) in enumerate(zip(models, sources, strict=True)):
        objective = StudentObjective(
            model,
            clips=train,
            sampler=sampler_of(),
            augmentation=STILL,
            loss=LABELS,
            val=ValEpisodes(val, sampler_of(VAL), 12),
            passes=Passes(model.backbone),
        )
        folder = CheckpointFolder(tmp_path / str(place), {})
        told.append(fit(objective, TRAIN, seed=0, tracker=Silent(), checkpoints=folder))
    assert told[0].history == told[1].history
    for name, value in behind.state_dict().items():
        torch.testing.assert_close(seen.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_views_are_cut_alike_whatever_is_cut_beside_them():
    augmentation = Augmentation(flip=True, scale=(0.5, 1.0), jitter=0.3)
    view = View(TRAIN_CLIPS, augmentation, 3, 1)
    together = view.centred(np.array([4, 0, 2]))
    assert together.shape[-2:] == (SIDE, SIDE)
    assert torch.equal(view.centred(np.array([2])), together[2:])
    assert not torch.equal(View(TRAIN_CLIPS, augmentation, 3, 2).centred(np.array([2])), together[2:])
    assert not torch.equal(TRAIN_CLIPS.centred(np.array([2])), together[2:])


def test_an_episode_takes_one_view_of_each_clip():
    views = [np.full((len(TRAIN_CLIPS.split.videos), 2, 3), float(number), np.float32) for number in range(3)]
    stored = StoredFeatures(views, TRAIN_CLIPS)
    videos = np.arange(20)
    first = stored.finish(stored.cut(videos, STILL, 0, 5))
    assert first.shape == (20, 2, 3)
    assert set(first[:, 0, 0].tolist()) == {0.0, 1.0, 2.0}
    assert torch.equal(first, stored.finish(stored.cut(videos, STILL, 0, 5)))
    assert not torch.equal(first, stored.finish(stored.cut(videos, STILL, 0, 6)))
    assert not stored.centred(videos).any()


def test_an_extraction_goes_on_where_it_was_left_and_views_are_kept_apart(tmp_path, monkeypatch, caplog):
    backbone, cache = frozen().backbone.eval(), ArrayCache(tmp_path)
    whole = backbone_features(backbone, TRAIN_CLIPS)
    monkeypatch.setattr("litemkd.evaluation.embedding.CLIPS_AT_ONCE", 4)
    looked = []

    class Leaves(ClipSource):
        digest = "of these clips"

        def __init__(self, last):
            self.__dict__.update(TRAIN_CLIPS.__dict__)
            self.pack, self.last = copy.copy(self.pack), last
            self.pack.digest = "of these clips"

        def centred(self, videos):
            if videos[0] >= self.last:
                raise KeyboardInterrupt
            looked.append(int(videos[0]))
            return super().centred(videos)

    caplog.set_level("INFO")
    try:
        backbone_features(backbone, Leaves(12), cache, "frozen rgb")
        raise AssertionError
    except KeyboardInterrupt:
        assert looked == [0, 4, 8]
    found = backbone_features(backbone, Leaves(100), cache, "frozen rgb")
    assert looked == [0, 4, 8, 12, 16, 20, 24]
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)
    first, second = (one.getMessage() for one in caplog.records)
    assert first.startswith("frozen rgb: features of 27 clips, 0.1 MB on disk; 4 clips took ")
    assert second.startswith(
        "frozen rgb: features of 27 clips, 12 of them there already, 0.1 MB on disk; 4 clips "
    )
    assert " GB of memory, the other 11 take about " in second
    backbone_features(backbone, Leaves(0), cache, "frozen rgb")  # all there: nothing is looked at, or told
    assert len(caplog.records) == 2
    View.digest = "of these clips"
    backbone_features(backbone, View(Leaves(100), STILL, 0, 1), cache)
    assert len(list(tmp_path.glob("*.npy"))) == 2
