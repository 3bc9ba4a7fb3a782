"""Cost of configured models, and the published figures."""

import json
import subprocess
import sys

import pytest
import torch

from litemkd.config import Config
from litemkd.stages.cost import published_table, student_cost, teacher_cost

NAMES = {
    "cost/gmacs_per_episode",
    "cost/gmacs_per_episode_plain",
    "cost/gflops_per_episode",
    "cost/gmacs_per_frame",
    "cost/params_m",
}


@pytest.fixture
def config():
    backbone = {"name": "resnet18", "weights": "none"}
    head = {"width": 8, "tuples": [2]}
    return Config.model_validate(
        {
            "device": "cpu",
            "threads": 1,
            "data": {"frames": 4, "crop": 32, "short_side": 32},
            "episode": {"way": 3},
            "evaluation": {"shots": [2, 1]},
            "student": {"backbone": backbone, "width": 16, "head": head},
            "teacher": {
                "modalities": ["rgb", "flow"],
                "expert": {"backbone": backbone, "width": 16, "head": head},
                "fusion": {"feed_forward": 8},
                "head": head,
            },
        }
    )


@pytest.fixture(scope="module")
def published():
    return {(row["backbone"], row["branches"], tuple(row["tuples"])): row for row in published_table()}


@pytest.mark.parametrize(
    ("model", "gmacs"),
    [
        (("resnet50", 0, (2, 3)), 1023.328),
        (("resnet50", 0, (2,)), 999.54),
        (("resnet18", 2, (2,)), 454.005),
        (("mobilenet_v3_large", 2, (2,)), 72.554),
        (("mobilenet_v3_large", 1, (2,)), 64.15),
        (("mobilenet_v3_small", 2, (2,)), 31.029),
    ],
)
def test_published_macs_are_reproduced(published, model, gmacs):
    row = published[model]
    assert row["gmacs_per_episode"] == pytest.approx(gmacs, rel=1e-4)
    assert row["released_code_gmacs"] == gmacs
    assert abs(row["deviation_percent"]) < 0.01
    assert row["gmacs_per_episode_this_code"] < row["gmacs_per_episode"]
    assert row["gflops_per_episode_this_code"] < row["gflops_per_episode"]


@pytest.mark.parametrize(
    ("model", "most"), [(("mobilenet_v3_large", 2, (2,)), 54), (("mobilenet_v3_small", 2, (2,)), 15)]
)
def test_the_evaluation_form_is_far_cheaper(published, model, most):
    assert published[model]["gmacs_per_episode_this_code"] < most


def test_exact_flops_of_published_models(published):
    assert published["resnet50", 0, (2, 3)]["gflops_per_episode"] == pytest.approx(2027.5, abs=0.05)
    assert published["mobilenet_v3_large", 2, (2,)]["gflops_per_episode"] == pytest.approx(137.3, abs=0.05)


def test_published_table_is_plain_json(published):
    rows = list(published.values())
    assert json.loads(json.dumps(rows)) == rows


def test_student_metrics(config):
    random = torch.get_rng_state()
    metrics = student_cost(config)
    assert {name for name in metrics if "joules" not in name} == NAMES | {"cost/latency_ms_per_video"}
    assert all(type(value) is float and value > 0 for value in metrics.values())
    assert metrics["cost/gmacs_per_frame"] == pytest.approx(
        metrics["cost/gmacs_per_episode"] / (3 * (2 + 1) * 4)
    )
    assert torch.equal(torch.get_rng_state(), random)


def test_shot_is_the_first_of_evaluation_unless_given(config):
    main, one = student_cost(config, latency=False), student_cost(config, shot=1, latency=False)
    assert set(main) == NAMES
    assert one["cost/gmacs_per_frame"] == pytest.approx(main["cost/gmacs_per_frame"])
    assert one["cost/gmacs_per_episode"] == pytest.approx(main["cost/gmacs_per_episode"] * 2 / 3)


def test_teacher_metrics_do_not_depend_on_whether_weights_exist(config):
    counted, timed = teacher_cost(config), teacher_cost(config, latency=True)
    assert set(counted) == NAMES
    assert timed["cost/latency_ms_per_video"] > 0
    assert counted == {name: timed[name] for name in NAMES}
    assert counted["cost/gmacs_per_episode"] > student_cost(config, latency=False)["cost/gmacs_per_episode"]


def test_features_on_disk_may_be_wider_than_the_experts(config):
    stored = config.model_copy(update={"teacher": config.teacher.model_copy(update={"experts": "features"})})
    narrow, wide = teacher_cost(stored), teacher_cost(stored, width=64)
    assert teacher_cost(stored, width=16) == narrow
    assert wide["cost/params_m"] > 4 * narrow["cost/params_m"]


def test_experts_whose_features_lie_on_disk_are_not_counted(config):
    stored = config.model_copy(update={"teacher": config.teacher.model_copy(update={"experts": "features"})})
    full, rest = teacher_cost(config), teacher_cost(stored)
    assert rest["cost/gmacs_per_episode"] < full["cost/gmacs_per_episode"] / 5
    assert rest["cost/params_m"] < full["cost/params_m"] / 5


def test_a_teacher_without_a_fusion_costs_its_head(config):
    change = {"experts": "features", "modalities": ("flow",)}
    fused = config.model_copy(update={"teacher": config.teacher.model_copy(update=change)})
    change["fusion"] = config.teacher.fusion.model_copy(update={"layers": 0})
    plain = config.model_copy(update={"teacher": config.teacher.model_copy(update=change)})
    one, other = teacher_cost(fused), teacher_cost(plain, latency=True)
    assert 0 < other["cost/gmacs_per_episode"] < one["cost/gmacs_per_episode"]
    assert 0 < other["cost/params_m"] < one["cost/params_m"]


def test_what_was_measured_is_found_without_torch(config, tmp_path, monkeypatch):
    monkeypatch.setenv("LITEMKD_CACHE", str(tmp_path))
    first = published_table()
    code = "import sys; from litemkd.stages.cost import published_table; t = published_table()"
    code += "; import json; print(json.dumps(t)); assert 'torch' not in sys.modules"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(found.stdout) == first


def test_an_architecture_is_what_it_is_kept_by(config, tmp_path, monkeypatch):
    monkeypatch.setenv("LITEMKD_CACHE", str(tmp_path))
    one = student_cost(config)
    train = config.student.train.model_copy(update={"lr": 1.0})
    trained_otherwise = config.student.model_copy(update={"train": train, "dropout": 0.3})
    assert student_cost(config.model_copy(update={"student": trained_otherwise, "seed": 9})) == one
    wider = config.student.model_copy(update={"width": 32})
    assert student_cost(config.model_copy(update={"student": wider}))["cost/params_m"] > one["cost/params_m"]
    larger = config.data.model_copy(update={"crop": 64})
    assert (
        student_cost(config.model_copy(update={"data": larger}))["cost/gmacs_per_frame"]
        > one["cost/gmacs_per_frame"]
    )
