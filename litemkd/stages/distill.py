"""distill: the main job. Teacher, labels-only student and distilled student, tested on the same episodes,
registered and laid side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from litemkd.config import Config
from litemkd.evaluation import Interval, paired_difference
from litemkd.report.tables import markdown_table, text_table
from litemkd.stages.common import ANEW, Going, accuracy_metrics, gain_metrics, run_of
from litemkd.stages.prepare import Prepared
from litemkd.stages.student import TrainedStudent, student_stage
from litemkd.stages.teacher import ReadyTeacher, teacher_stage
from litemkd.tracking import Promotion, Run, promote


@dataclass(frozen=True)
class Outcome:
    """What the main job made.

    Attributes:
        teacher, labels, distilled: the three models; `labels` is None when the baseline was left out.
        gains: distilled minus labels only, points, by number of shots, paired on the same episodes.
        promotions: what moved in the registry.
    """

    teacher: ReadyTeacher
    labels: TrainedStudent | None
    distilled: TrainedStudent
    gains: dict[int, Interval]
    promotions: list[Promotion]


def distill_stage(
    config: Config,
    data: Prepared,
    device: torch.device,
    *,
    choice: str = "auto",
    baseline: bool = True,
    going: Going = ANEW,
) -> Outcome:
    """Run the whole job; see `Outcome`. `choice` is of the teacher, see `teacher_stage`."""
    backbone, head = config.student.backbone.name, config.student.head.name
    tags = {"litemkd.backbone": backbone, "litemkd.head": head, "litemkd.distilled": "true"}
    asked = {"--teacher": choice, "--no-baseline": str(not baseline).lower()}
    going = replace(going, asked=asked)
    with run_of(config, data, "distill", f"distill into {backbone} + {head}", device, tags, going=going) as run:
        teacher = teacher_stage(config, data, device, choice=choice, going=going)
        run.set_tags(
            {
                "litemkd.teacher": f"{teacher.name} version {teacher.version}",
                "litemkd.teacher_reused": str(teacher.reused).lower(),
            }
        )
        labels = student_stage(config, data, device, going=going) if baseline else None
        distilled = student_stage(config, data, device, teacher=teacher, going=going)
        gains = (
            {}
            if labels is None
            else {
                shot: paired_difference(distilled.tests[shot], labels.tests[shot]) for shot in distilled.tests
            }
        )
        promotions = [promote(teacher.name), promote(distilled.name)]
        outcome = Outcome(teacher, labels, distilled, gains, promotions)
        _log(run, outcome)
    return outcome


def outcome_table(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """The closing table: header and rows."""
    shots = list(outcome.distilled.tests)
    header = ["model", *(f"{shot}-shot, %" for shot in shots), "GMACs/episode", "parameters, M"]
    rows = [
        [
            f"teacher ({'+'.join(outcome.teacher.teacher.fusion.modalities)})",
            *(str(outcome.teacher.tests[shot].accuracy) for shot in shots),
            f"{outcome.teacher.cost['cost/gmacs_per_episode']:.2f}",
            f"{outcome.teacher.cost['cost/params_m']:.2f}",
        ]
    ]
    for name, student in (("student, labels only", outcome.labels), ("student, distilled", outcome.distilled)):
        if student is not None:
            rows.append(
                [
                    name,
                    *(str(student.tests[shot].accuracy) for shot in shots),
                    f"{student.cost['cost/gmacs_per_episode']:.2f}",
                    f"{student.cost['cost/params_m']:.2f}",
                ]
            )
    if outcome.gains:
        rows.append(
            [
                "gain by distillation",
                *(f"{gain.mean:+.2f} ± {gain.half:.2f}" for gain in outcome.gains.values()),
                "",
                "",
            ]
        )
    return header, rows


def outcome_words(outcome: Outcome) -> str:
    """The closing table as text."""
    return text_table(*outcome_table(outcome))


def _log(run: Run, outcome: Outcome) -> None:
    header, rows = outcome_table(outcome)
    run.log_text(markdown_table(header, rows), "result.md")
    run.log_table([dict(zip(header, row, strict=True)) for row in rows], "result.json")
    metrics = {"val/accuracy": outcome.distilled.progress.best_accuracy}
    metrics["val/accuracy_ci95"] = outcome.distilled.progress.best_ci95
    metrics |= outcome.distilled.cost
    metrics |= accuracy_metrics({shot: test.accuracy for shot, test in outcome.distilled.tests.items()})
    metrics |= gain_metrics(outcome.gains)
    run.log_metrics(metrics, 0)
    gains = ", ".join(
        f"**{gain.mean:+.2f} ± {gain.half:.2f}** {shot}-shot" for shot, gain in outcome.gains.items()
    )
    words = f"Gain by distillation, points: {gains}. " if gains else ""
    run.describe(f"{words}On the test classes:\n\n{markdown_table(header, rows)}")
