"""The papers' tables, run again: settings, figures of trainings, claims and the command."""

import csv
import io
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from experiments import __main__ as command
from experiments import (
    claims,
    claims_table,
    measured,
    mehta2018,
    mehta2019,
    papers,
    printed,
    rows,
    scales,
    studies,
    tables,
)
from experiments.claims import NotRun, Verdict
from experiments.entries import Entry, cells, drawn, findings
from experiments.forecast import forecast
from experiments.measured import Measured
from experiments.mehta2019 import claims as mehta2019_claims
from experiments.mehta2019.pictures import evolution
from experiments.papers import Setting
from experiments.retsinas2020 import formulas as retsinas2020_formulas
from experiments.scales import EMBEDDED, MLP, PAPER, SCALES, Scale
from jaxsparse import data
from jaxsparse.config import Run
from jaxsparse.grid import Cell
from jaxsparse.grid.engine import step_seconds

BASE = mehta2019.BASE

# --- what the papers say --------------------------------------------------------------------------------------------


def test_the_tables_are_complete() -> None:
    assert len(papers.claims()) == 95
    printed = {f"mehta2019_{table}" for _, table in mehta2019.TABLES.values()} | {
        f"mehta2018_{name.replace('able', '')}" for name in mehta2018.TITLES
    }
    there = {path.stem for path in papers.FOLDER.glob("mehta*.csv")}
    assert printed == there
    assert len(papers.settings("mehta2019_t1")) == 70


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda scale: scale.name)
def test_no_two_trainings_share_a_place(scale: Scale) -> None:
    """Whoever trains first would be taken for the other. Every cell of every entry, as the entries give them."""
    made: dict[str, Cell] = {}
    for paper in command.PAPERS:
        for entry in command._entries(paper, scale).values():
            for cell in entry.cells(scale):
                place = studies.place(cell)
                assert made.setdefault(place, cell) == cell, place
                assert len(Path(place).parts) == 2
                assert ".." not in place
    assert made


def test_equal_iterations_whatever_the_batch() -> None:
    """Section 5: epochs are scaled with the batch; 325 epochs at batch 40 are 1,300 at 160."""
    wide = replace(BASE, batch=160)
    assert PAPER.run(BASE).epochs == 325
    assert PAPER.run(BASE).milestones == (250,)
    assert PAPER.run(wide).epochs == 1300
    assert PAPER.run(wide).milestones == (1000,)
    for scale, steps in ((EMBEDDED, 81_250), (MLP, 406_250)):
        for batch, milestone in ((20, 50), (40, 100), (80, 200), (160, 400)):
            run = scale.run(replace(BASE, batch=batch))
            done = run.epochs * (data.describe(run.data).train_size // run.batch)
            assert done == pytest.approx(steps, rel=0.01)
            assert run.milestones == (milestone * steps // 81_250,)
            assert 8 <= run.points <= 20


@pytest.mark.parametrize(
    "setting", [one for _, table in mehta2019.TABLES.values() for one in papers.settings(f"mehta2019_{table}")]
)
def test_scales_differ_by_data_and_network_and_length_only(setting: Setting) -> None:
    """Strength, learning rate, constants, batch, optimizer, form, activation and schedule are the paper's."""
    (paper, *_) = PAPER.cells(setting)
    for scale in (EMBEDDED, MLP):
        for cell in scale.cells(setting)[:1]:
            assert (cell.hyper, cell.regularizer) == (paper.hyper, paper.regularizer)
            played = {"data", "model", "width", "widths", "head", "epochs", "milestones", "measure_every"}
            theirs = {field.name: getattr(paper.run, field.name) for field in fields(Run) if field.name not in played}
            assert theirs == {name: getattr(cell.run, name) for name in theirs}
            shares = [epoch / paper.run.epochs for epoch in paper.run.milestones]
            np.testing.assert_allclose([epoch / cell.run.epochs for epoch in cell.run.milestones], shares, atol=0.05)


def test_adam_has_its_own_rate_on_imagenet() -> None:
    """Supplement S4."""
    assert PAPER.cells(Setting("VGG-11", "ImageNet", "Adam", "L2", 1e-4, 60))[0].hyper.learning_rate == 1e-4
    assert PAPER.cells(BASE)[0].hyper.learning_rate == 1e-3


def test_what_fewer_steps_come_to() -> None:
    """312,500 steps at a rate of 1e-3 and 93,750 at a tenth of it: 321.875."""
    assert PAPER.regime(BASE) == MLP.regime(BASE) == "all of the paper's steps"
    assert EMBEDDED.regime(BASE).startswith(
        "1/5 of the paper's steps: Adam can take a weight from 1 to 0 64 times (paper 322)"
    )
    assert EMBEDDED.regime(BASE).endswith("e^-6.4 (e^-32)")


def test_the_schedules_of_the_supplement() -> None:
    tiny = PAPER.run(Setting("VGG-16", "TinyImageNet", "Adam", "L2", 1e-4, 40))
    assert (tiny.epochs, tiny.milestones) == (400, (250, 325))
    assert (tiny.factor, tiny.batch) == (0.1, 40)


def test_strength_and_regularizer() -> None:
    (plain, *_) = EMBEDDED.cells(replace(BASE, strength=0.0))
    assert (plain.regularizer, plain.hyper.strength) == ("none", 0.0)
    (cell, *_) = PAPER.cells(replace(BASE, regularizer="WD", strength=2e-4))
    assert (cell.run.regularizer, cell.hyper.strength, cell.hyper.learning_rate) == ("wd", 2e-4, 1e-3)
    assert cell.hyper.constants == {"b1": 0.9, "b2": 0.99, "eps": 1e-8}


# --- figures of trainings -------------------------------------------------------------------------------------------


def run_of(dead: float = 0.0, error: float = 10.0, **more: object) -> dict[str, object]:
    figures = dict.fromkeys(rows.NUMBERS, 0.0)
    errors = {"test_error": error, "test_error_silenced": error}
    return {"status": "done", **figures, "sparsity_scale": dead, "sparsity_activation": dead, **errors, **more}


def made(values: dict[Setting, list[dict[str, object]]]) -> Measured:
    places = {
        studies.place(cell): run
        for setting, runs in values.items()
        for cell, run in zip(EMBEDDED.cells(setting), runs, strict=False)
    }
    return Measured(EMBEDDED, places)


def test_runs_of_a_setting_are_all_there_or_none() -> None:
    complete = made({BASE: [run_of(1), run_of(2), run_of(3)]})
    np.testing.assert_array_equal(complete.values(BASE, "sparsity_scale"), [1, 2, 3])
    assert not made({BASE: [run_of(1), run_of(2)]}).runs(BASE)
    assert not made({BASE: [run_of(1), run_of(2), run_of(3, status="diverged")]}).runs(BASE)


def test_csv_and_back(tmp_path: Path) -> None:
    places = [studies.place(cell) for cell in EMBEDDED.cells(BASE)]
    more = {"layer_dead": [1.5, float("nan")], "unit_dead": [0, 1], "seconds": 2.0}
    before = made({BASE: [run_of(seed, place=place, **more) for seed, place in enumerate(places)]})
    kind = mehta2019.SINGLE_WEIGHTS
    weight = {"optimizer": "adam", "regularizer": "l2", "strength": 1e-4, "seed": 0, "steps_to_0.001": None}
    measured.to_csv(replace(before, findings={kind.name: [weight]}), tmp_path, [kind])
    after = measured.from_csv(EMBEDDED, tmp_path, [kind])
    assert {name: after.findings[kind.name][0][name] for name in weight} == weight
    assert list(after.rows) == sorted(places)
    np.testing.assert_array_equal(after.values(BASE, "sparsity_scale"), [0, 1, 2])
    np.testing.assert_array_equal(after.values(BASE, "layer_dead"), [[1.5, np.nan]] * 3)


@pytest.mark.parametrize("scale", [EMBEDDED, MLP], ids=lambda scale: scale.name)
def test_kept_figures_are_written_again_as_they_are(scale: Scale, tmp_path: Path) -> None:
    """Whole numbers of five digits were rounded to four."""
    every = findings([one for paper in command.PAPERS.values() for one in paper.values()])
    measured.to_csv(measured.from_csv(scale, command.MEASURED, every), tmp_path, every)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in command.MEASURED.glob(f"{scale.name}*.csv")
    }


def test_what_was_kept_stays_beside_what_is_new() -> None:
    places = [studies.place(cell) for cell in EMBEDDED.cells(BASE)]
    kept = Measured(
        EMBEDDED, {places[0]: run_of(1), places[1]: run_of(2), "gone": run_of(3)}, {"a": [{"x": 1}], "b": []}
    )
    new = Measured(EMBEDDED, {places[1]: run_of(5), places[2]: run_of(6)}, {"a": [], "b": [{"x": 2}]})
    both = measured.united(kept, new, EMBEDDED.cells(BASE))
    np.testing.assert_array_equal(both.values(BASE, "sparsity_scale"), [1, 5, 6])
    assert "gone" not in both.rows, "no entry trains it any more"
    assert both.findings == {"a": [{"x": 1}], "b": [{"x": 2}]}


def test_findings_about_a_training_follow_it() -> None:
    places = [studies.place(cell) for cell in EMBEDDED.cells(BASE)]

    def found(*pairs: tuple[str, int]) -> Measured:
        return Measured(EMBEDDED, {}, {"a": [{"place": place, "x": x} for place, x in pairs]})

    kept, new = found((places[0], 1), (places[0], 2), (places[1], 3), ("gone", 4)), found((places[1], 5))
    both = measured.united(kept, new, EMBEDDED.cells(BASE))
    assert sorted(row["x"] for row in both.findings["a"]) == [1, 2, 5]


def test_pruned_weights_against_counting() -> None:
    rng = np.random.default_rng(0)
    kernels = [(5, 5, 1, 3), (3, 3, 3, 4), (3, 3, 4, 2)]
    dead = [rng.random(shape[-1]) < 0.5 for shape in kernels]
    gone = 0
    for layer, shape in enumerate(kernels):
        before = dead[layer - 1] if layer else np.zeros(shape[2], bool)
        for out in range(shape[3]):
            for into in range(shape[2]):
                gone += shape[0] * shape[1] * bool(dead[layer][out] or before[into])
    total, percent = rows._pruned(kernels, dead)
    assert total == sum(np.prod(shape) for shape in kernels)
    assert percent == pytest.approx(100 * gone / total)


def test_tables_show_both_figures() -> None:
    setting = papers.settings("mehta2019_t6")[0]
    header, lines = tables.rows(made({setting: [run_of(dead) for dead in (10.0, 12.0, 14.0)]}), ("mehta2019_t6",))
    assert lines[0][header.index("dead by scale (%)")] == "70 | 12.0 ± 2.0"
    assert lines[1][header.index("dead by scale (%)")].endswith("| -")


# --- claims ---------------------------------------------------------------------------------------------------------


def test_comparisons() -> None:
    low, high = np.asarray([1.0, 1.2, 0.8]), np.asarray([5.0, 5.2, 4.8])
    assert claims.more(high, low)
    assert not claims.more(low, high)
    assert not claims.more(high, low, least=10)
    assert not claims.more(np.asarray([0.0, 20.0, 10.0]), low), "the spread is larger than the difference"
    assert not claims.more(high[:1], low), "one seed has no spread"
    assert claims.alike(low, low + 0.4, 0.5)
    assert not claims.alike(low, low + 0.6, 0.5)
    assert claims.falling([high, low + 1, low])
    assert not claims.falling([low, high])
    assert not claims.falling([low, low, low])
    assert not claims.more(low, low, least=0)
    assert claims.alike(np.asarray([0.0, 20.0, 10.0]), low, 0.5), "never narrower than two standard errors"


def test_a_rule_without_its_trainings_is_not_run() -> None:
    nothing = Measured(EMBEDDED, {})
    for name, (_, rule) in command.RULES.items():
        assert name in retsinas2020_formulas.RULES or claims.judge(rule, nothing)[0] == "not run"
    assert claims.judge(None, nothing) == ("not run", "")


def test_rules_decide_both_ways() -> None:
    """A few rules on figures that were made up to show the claim, and made up not to."""
    settings, rule = papers.settings("mehta2019_t6"), mehta2019_claims.narrower_is_less_sparse
    widths = list(dict.fromkeys(one.network for one in settings))
    for dead, shown in (((70, 50, 20), True), ((40, 40, 40), False), ((20, 50, 70), False)):
        percent = dict(zip(widths, dead, strict=True))
        found = made({one: [run_of(percent[one.network] + seed) for seed in range(3)] for one in settings})
        assert rule(found).shown is shown
    base = {BASE: [run_of(50 + seed) for seed in range(3)]}
    for amsgrad, shown in ((5, True), (49, False)):
        others = [run_of(amsgrad, layer_dead=[0.0, 0.0, 0.0, 0.0, 0.0, 20.0, 20.0]) for _ in range(3)]
        assert mehta2019_claims.amsgrad_is_less_sparse(made({**base, mehta2019_claims.AMSGRAD: others})).shown is shown


def test_at_equal_error_a_sparse_network_that_learned_nothing_does_not_count() -> None:
    """With both forms of regularizer and on both sets Adam's strongest is sparse; whether that counts is a matter of
    its error alone."""
    table = EMBEDDED.trained(papers.settings("mehta2019_t1"))
    for error, shown in ((10.5, True), (90.0, False)):
        runs = {one: [run_of(0, 10.0 + 0.1 * seed) for seed in range(3)] for one in table}
        for one in table:
            if (one.optimizer, one.strength) == ("Adam", 1e-3):
                runs[one] = [run_of(95, error)] * 3
        assert mehta2019_claims.adaptive_is_sparser(made(runs)).shown is shown


SAYS_ALIKE = {"M19-05", "M19-08", "M19-09", "M19-30"}
"""Claims that nothing differs."""
UNPRINTED = {"M19-10", "M19-14", "M19-15", "M19-16", "M19-17", "M19-18", "M19-19", "M19-20", "M19-23", "M19-29"}
"""Claims of figures that the paper does not print: lost, drawn, or of a quoted method."""


def test_the_papers_own_tables_pass_its_claims_and_tables_without_differences_do_not() -> None:
    same = {"test_error": 20.0, "test_error_silenced": 20.0, "train_loss": 1.0, "test_loss": 1.0, "dead_units": 100.0}
    names = [f"mehta2019_{table}" for _, table in mehta2019.TABLES.values()]
    theirs = printed.as_measured(names)
    flat = printed.as_measured(names, lambda setting, metric, value: same.get(metric, 30.0))
    for name, (_, rule) in mehta2019_claims.RULES.items():
        status = claims.judge(rule, theirs)[0]
        assert status == (claims.NOT_RUN if name in UNPRINTED else claims.SHOWN), name
        if name not in UNPRINTED:
            assert (claims.judge(rule, flat)[0] == claims.SHOWN) is (name in SAYS_ALIKE), name


def test_a_missing_premise_is_undecidable() -> None:
    """No unit is dead anywhere: nothing can be said of what kills more of them."""
    settings = EMBEDDED.trained(
        [one for _, table in mehta2019.TABLES.values() for one in papers.settings(f"mehta2019_{table}")]
    )
    none = made({one: [run_of(0, layer_dead=[0.0] * 7) for _ in range(3)] for one in settings})
    for name in ("M19-01", "M19-02", "M19-05", "M19-07", "M19-08", "M19-09", "M19-11", "M19-12", "M19-24", "M19-26"):
        status, text = claims.judge(mehta2019_claims.RULES[name][1], none)
        assert (name, status) == (name, claims.UNDECIDABLE)
        assert text


def test_claims_of_the_summary_follow_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(measured: Measured) -> Verdict:
        raise claims.Undecidable("nothing is dead")

    rules = {
        "shown": lambda _: Verdict(True, ""),
        "not shown": lambda _: Verdict(False, ""),
        "undecidable here": missing,
    }
    for first, second, both in (
        ("shown", "shown", "shown"),
        ("shown", "not shown", "not shown"),
        ("shown", "undecidable here", "undecidable here"),
        ("undecidable here", "not shown", "not shown"),
    ):
        for one, status in (("M19-09", first), ("M19-10", second)):
            monkeypatch.setitem(mehta2019_claims.RULES, one, ("table1", rules[status]))
        assert claims.judge(mehta2018.RULES["M18-08"][1], Measured(EMBEDDED, {}))[0] == both


def test_comparisons_with_other_papers_wait_for_the_papers_scale() -> None:
    with pytest.raises(NotRun, match="paper scale"):
        mehta2019_claims.batch_tunes_vgg11(Measured(EMBEDDED, {}))


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_table_of_claims(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["claims", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert set(rows[0]) == {"id", "paper", "claim", "entry", "scale", "status", "measured"}
    assert {row["id"] for row in rows} == {claim["id"] for claim in papers.claims()}
    assert {row["status"] for row in rows} <= set(claims_table.STATUS)
    written = (Path(__file__).parents[1] / "docs" / "claims.md").read_text(encoding="utf-8")
    assert claims_table.page(rows, command.regimes()) == written, (
        "python -m experiments claims --markdown > docs/claims.md"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["mehta2019", "table11", "--out", "."], "entry must be one of table1"),
        (["mehta2019", "table1", "--scale", "huge", "--out", "."], "scale must be one of paper embedded mlp"),
        (["claims", "--paper", "nobody"], "paper must be one of mehta2019"),
        (["keep", "--out", "empty"], "out must be a folder with trainings"),
    ],
)
def test_bad_input_gets_one_line(
    arguments: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"experiments: {complaint}")
    assert not list(tmp_path.iterdir())


def test_the_papers_scale_says_beforehand_what_it_trains() -> None:
    """65 epochs of 312 batches of 160 images and so on; half a millisecond a step, two at a time."""
    found = [*PAPER.cells(BASE), *PAPER.cells(replace(BASE, batch=160)), *PAPER.cells(replace(BASE, optimizer="SGD"))]
    first, second, total = forecast(found, lambda run: 0.0005, 2)
    assert first == "6 x basicnet on cifar100, batch 40: 406,250 steps (325 epochs) of 0.5 ms"
    assert second == "3 x basicnet on cifar100, batch 160: 405,600 steps (1300 epochs) of 0.5 ms"
    hours = 0.0005 * (6 * 406_250 + 3 * 405_600) / 3600 / 2
    assert total == f"9 trainings, about {hours:.3g} hours here, 2 at a time"


def test_a_step_is_measured_on_this_device() -> None:
    run = EMBEDDED.run(replace(BASE, network="BasicNet 32-0.25x"))
    assert 0 < step_seconds(run) < 10


def tiny() -> Scale:
    """Two epochs of a network of a few filters."""
    return replace(
        EMBEDDED,
        name="tiny",
        data=dict.fromkeys(EMBEDDED.data, "digits"),
        network=lambda setting: {"model": "basicnet", "widths": (2, 2, 2, 2)},
        steps=lambda setting: 2 * 1437 // setting.batch,
        seeds=lambda setting: 2,
    )


def test_an_entry_from_training_to_table_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SCALES, "tiny", tiny())
    first, second = replace(BASE, batch=160), replace(BASE, batch=160, strength=0.0)
    entry = drawn(
        "mehta2019",
        "pair",
        "A pair",
        lambda found, root: evolution(found, root, [first], -2),
        scales.trainings((first, second)),
    )
    monkeypatch.setattr(command, "PAPERS", {"mehta2019": {"pair": entry}})
    again = ["mehta2019", "pair", "--scale", "tiny", "--out", str(tmp_path)]
    assert command.main(again) == 0
    assert (tmp_path / "tiny/figures/mehta2019/pair.png").stat().st_size > 10_000
    found = measured.from_records(tiny(), tmp_path / "tiny", cells([entry], tiny()))
    assert len(found.rows) == 4
    runs = found.runs(first)
    assert len(runs) == 2
    assert runs[0]["conv_params"] == 25 * 2 + 3 * (9 * 2 * 2)
    assert len(runs[0]["unit_universality"]) == 8
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "tiny").rglob("weights.safetensors")}
    assert command.main(again) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}, "nothing was left to train"
    assert command.main(["keep", "--scale", "tiny", "--out", str(tmp_path), "--to", str(tmp_path / "kept")]) == 0
    kept = measured.from_csv(tiny(), tmp_path / "kept")
    monkeypatch.setattr(command, "MEASURED", tmp_path / "kept")
    table = replace(entry, figures_only=True, show=lambda found, root: print(len(found.runs(first)), "runs"))
    monkeypatch.setattr(command, "PAPERS", {"mehta2019": {"pair": table}})
    capsys.readouterr()
    assert command.main([*again[:-1], str(tmp_path / "new"), "--kept"]) == 0
    assert capsys.readouterr().out == "2 runs\n"
    assert not list((tmp_path / "new").rglob("run.json")), "what is kept is not trained again"
    for metric in ("test_error", "conv_params_pruned", "train_loss"):
        np.testing.assert_allclose(kept.values(first, metric), found.values(first, metric), rtol=1e-3)

    def broken(measured: Measured, root: Path) -> None:
        raise OSError("no ink")

    both = {"broken": Entry("broken", "Broken", broken, entry.cells), "pair": entry}
    monkeypatch.setattr(command, "PAPERS", {"mehta2019": both})
    monkeypatch.setattr(command, "RULES", {"M19-01": mehta2019_claims.RULES["M19-01"]})
    (tmp_path / "tiny/figures/mehta2019/pair.png").unlink()
    assert command.main(["all", "--scale", "tiny", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "experiments: mehta2019 broken: no ink"
    assert (tmp_path / "tiny/figures/mehta2019/pair.png").exists(), "the entries behind a broken one go on"
    assert len(measured.from_csv(tiny(), tmp_path / "measured").rows) == 4
    assert (tmp_path / "claims.md").read_text() == claims_table.page(command.judged(None, tmp_path), command.regimes())
    assert before == {path: path.stat().st_mtime_ns for path in before}
    capsys.readouterr()
