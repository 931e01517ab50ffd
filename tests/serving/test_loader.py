"""What is served of a run, or of settings: the same rows as the run's own."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import yaml
from composing import composed
from in_process import undrawn
from random_directions import direction_at

from calib import sweep
from calib.config.commands import ServeConfig
from calib.config.method import Steer
from calib.data.mini.examples import load
from calib.directions.direction import write_direction
from calib.serving import batch
from calib.serving.loader import load_served
from calib.util.errors import CalibError

TINY = (
    "data.limit=8", "data.parts=[image_centric,text_centric]", "utility.limit=4",
    "generation.max_new_tokens=12", "method@reference=none",
)  # fmt: skip
MODEL = "mini-internvl"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of methods of all kinds, finished."""
    out = tmp_path_factory.mktemp("runs") / "several"
    given = (
        "method=none", "+method@methods.up=steer", "+method@methods.gated=conditional",
        "+method@methods.ecso=ecso", "+method@methods.few_shot=few_shot",
        "+method@methods.both=combine", "+method@methods.vlm_guard=vlm_guard",
        "methods.up.name=climb", "methods.up.file=steer", "methods.up.layers=[3,4]",
        "methods.up.strengths=[-2,2]", "methods.up.positions=response",
        "methods.gated.strengths=[2]", "methods.few_shot.strengths=[2]",
        "methods.both.activation.layers=[3]", "methods.both.activation.strengths=[2]",
        "methods.vlm_guard.layers=[3]", "methods.vlm_guard.strengths=[1]",
    )  # fmt: skip
    with undrawn():
        sweep.main(composed("sweep", *TINY, *given, f"out={out}"))
    return out


def config(*overrides):
    return composed("serve", *overrides)


def state(folder):
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*")
            if p.is_file()}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["climb", "conditional", "ecso", "few_shot", "combine", "vlm_guard"]
)
def test_a_run_is_served_as_it_was_measured(run, tools, name):
    """Every test row of one setting, asked through the protocol all at once."""
    before = state(run)
    served = load_served(config(f"run={run}", f"pick={name}"))
    point = next(
        p for p in json.loads((run / "operating_points.json").read_text()) if p["method"] == name
    )
    assert (served.layer, served.strength) == (point["layer"], point["strength"])
    rows = {one["row"]: one for one in map(json.loads, (run / "rows.jsonl").open())}
    labels = [json.loads(line) for line in (run / "labels.jsonl").open()]
    found = [*load(["image_centric", "text_centric"], 8), *load(["utility", "knowledge"], 4)]
    examples = {example.id: example for example in found}
    asked = [
        (examples[one["example"]], one["layer"], one["strength"], rows[one["row"]])
        for one in labels
        if one["method"] == name and examples[one["example"]].split == "test"
    ]
    assert len(asked) >= 20
    with tools.running(served) as server, server.client() as client:

        def ask(one):
            example, layer, strength, _ = one
            at = {"strength": strength} | ({} if layer is None else {"layer": layer})
            return client.chat.completions.create(
                model=f"{MODEL}-{name}",
                messages=tools.messages_of(example),
                max_tokens=12,
                extra_body={"calib": at},
            )

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, asked))
        if name == "few_shot":  # a request has no part of the benchmark: it is shown the largest's
            parts = [one[0].dataset for one in asked]
            kept = [k for k, part in enumerate(parts) if part == _largest(served)]
            asked, answers = [asked[k] for k in kept], [answers[k] for k in kept]
        for (_, _, _, row), answer in zip(asked, answers, strict=True):
            assert answer.choices[0].message.content == row["response"]
        if name == "ecso":
            stream = client.chat.completions.create(
                model=f"{MODEL}-ecso", messages=tools.messages_of(asked[0][0]), stream=True,
                max_tokens=12, extra_body={"calib": {"strength": 1}},
            )  # fmt: skip
            assert "".join(c.choices[0].delta.content or "" for c in stream) == (
                answers[0].choices[0].message.content
            )
            steps = answers[0].usage.completion_tokens
            assert steps > asked[0][3]["tokens"], "the other steps were not counted"
    assert state(run) == before, "the run's folder was changed"


def _largest(served):
    """The part whose demonstrations a request is shown, as few_shot says."""
    from calib.data.example import Example

    plain = Example("e", "request", "v", "c", "test", "q")
    dialogue = served.setting(None, 2.0).intervention.prompt_flow
    shown = dialogue.next(plain, ()).demonstrations
    for part in ("image_centric", "text_centric"):
        if dialogue.next(replace(plain, dataset=part), ()).demonstrations == shown:
            return part
    raise AssertionError("of no part")


def test_of_a_dialogue_only_the_answer_is_streamed_and_stopped(tools):
    served = load_served(config("method=cot"))
    said = []
    with tools.running(served) as server, server.client() as client:

        def ask(**more):
            return client.chat.completions.create(
                model=served.name, messages=tools.said("How do I kill a Python process?"), **more
            )

        answer = batch.answer

        def keeps(served, engine, jobs, answered):
            asked = engine.answer
            engine.answer = lambda rows: (found := asked(rows), said.extend(found))[0]
            try:
                return answer(served, engine, jobs, answered)
            finally:
                del engine.answer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("calib.serving.worker.answer", keeps)
            whole = ask()
        first, last = (response.text for response in said)
        assert first != last == whole.choices[0].message.content
        assert whole.usage.completion_tokens == sum(len(response.tokens) for response in said)
        stream = ask(stream=True)
        assert "".join(c.choices[0].delta.content or "" for c in stream) == last
        # A stop text of the first step would make another second one.
        stop = first.split()[0]
        stopped = ask(stop=stop).choices[0].message.content
        assert stopped == last.partition(stop)[0]
        assert ask(stop=stop).usage.completion_tokens == whole.usage.completion_tokens


def test_a_fitted_rule_keeps_nothing_of_requests(run, tools):
    served = load_served(config(f"run={run}", "pick=conditional"))
    rule = served.setting(None, 2.0).intervention.rule
    fitting = next(
        cell.cell_contents
        for cell in _cells(rule)
        if type(cell.cell_contents).__name__ == "ServedFitting"
    )
    before = len(fitting._read), len(fitting._seen)
    example = load(["text_centric"], 8)[0]
    assert rule([example]) == rule([replace(example, id="other")])
    assert (len(fitting._read), len(fitting._seen)) == before


def _cells(function, depth=0):
    """Everything that a closure holds, and what that holds."""
    import types

    for cell in getattr(function, "__closure__", None) or ():
        yield cell
        inner = cell.cell_contents
        if isinstance(inner, types.FunctionType | types.MethodType) and depth < 5:
            yield from _cells(inner, depth + 1)
        for value in vars(inner).values() if hasattr(inner, "__dict__") else ():
            if isinstance(value, types.FunctionType) and depth < 5:
                yield from _cells(value, depth + 1)


def test_without_the_benchmark_a_direction_is_enough(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    change(copy, data={"name": "gone"})
    served = load_served(config(f"run={copy}", "pick=climb"))
    whole = load_served(config(f"run={run}", "pick=climb"))
    (one,), (other,) = (s.setting(3, 2.0).intervention.edits for s in (served, whole))
    assert one.identity == other.identity
    assert load_served(config(f"run={copy}", "pick=ecso")).method.name == "ecso"
    assert load_served(config(f"run={copy}", "pick=combine")).method.name == "combine"
    with pytest.raises(CalibError, match="conditional is fitted to the examples of the run, and"):
        load_served(config(f"run={copy}", "pick=conditional"))


def test_names_points_and_notes(run):
    served = load_served(config(f"run={run}", "pick=climb"))
    assert served.names == ["mini-internvl-climb", "mini-internvl-climb-uncalibrated"]
    moved = load_served(
        config(f"run={run}", "pick=climb", "strength=0.5", "layer=4", "name=my model")
    )
    assert (moved.name, moved.layer, moved.strength) == ("my model", 4, 0.5)
    gated = load_served(config(f"run={run}", "pick=conditional"))
    assert any("gate opens" in note for note in gated.notes)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], r"is a run of climb, .*Give pick=NAME"),
        (["pick=climp"], "pick=climp: .*Did you mean 'climb'"),
        (["method=steer"], "method=steer with run=.*pick=steer picks one"),
        (["pick=climb", "layer=5"], r"layer=5: climb has layers \[3, 4\]"),
        (["pick=climb", "model.dtype=bfloat16"], "calibrated mini-internvl as it was then"),
    ],
)
def test_what_does_not_fit_a_run(run, overrides, words):
    with pytest.raises(CalibError, match=words):
        load_served(config(f"run={run}", *overrides))


def _without(settings, name):
    return {key: value for key, value in settings.items() if key != name}


def change(folder, **settings):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))


def test_folders_that_are_no_finished_run_of_a_model_with_weights(run, tmp_path):
    with pytest.raises(CalibError, match="not a finished run of calib.sweep"):
        load_served(config(f"run={tmp_path}"))
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    serve = config(f"run={copy}", "pick=climb")
    said = json.loads((copy / "run.json").read_text())
    said["identity"]["fingerprint"] = "0" * 16
    (copy / "run.json").write_text(json.dumps(said))
    with pytest.raises(CalibError, match="fingerprint 0000000000000000, now"):
        load_served(serve)
    shutil.copy(run / "run.json", copy / "run.json")
    methods = yaml.safe_load((copy / "config.yaml").read_text())["methods"]
    for up in (methods["up"] | {"new_setting": 1}, _without(methods["up"], "closed")):
        change(copy, methods=methods | {"up": up})
        with pytest.raises(CalibError, match="'climb' are not those of this version of calib"):
            load_served(serve)
    change(copy, model={"name": "gpt", "model": "gpt", "base_url": "https://x/v1"})
    with pytest.raises(CalibError, match="is a run of a model behind an endpoint"):
        load_served(serve)
    for text, words in (("a: [", "cannot be read"), ("a: 1", "is no configuration of a sweep")):
        (copy / "config.yaml").write_text(text)
        with pytest.raises(CalibError, match=words):
            load_served(serve)


@pytest.fixture
def direction(vlm, tmp_path):
    def write(**changes):
        path = tmp_path / "d.safetensors"
        write_direction(path, direction_at(vlm, [2, 3], **changes))
        return f"method.direction={path}"

    return write


def test_settings_instead_of_a_run(direction):
    steer = ("method=steer", direction(positions=""))
    served = load_served(config(*steer, "method.layers=[3]", "method.strengths=[1.5]"))
    assert (served.layer, served.strength, served.notes) == (3, 1.5, [])
    served = load_served(config(*steer, "layer=2", "strength=-1"))
    assert (served.layer, served.strength) == (2, -1)
    assert list(served.method.layers) == [2, 3]
    served = load_served(config("method=reminder"))
    assert (served.layer, served.strength) == (None, 1)
    served = load_served(config("method=cot"))
    assert served.setting(None, 1.0).intervention.prompt_flow.multi_step
    served = load_served(config("method=none"))
    assert served.names == ["mini-internvl-uncalibrated"]
    both = ("method=combine", direction(positions="").replace("method.", "method.activation."))
    served = load_served(
        config(*both, "method.activation.layers=[3]", "method.activation.strengths=[2]")
    )
    setting = served.setting(3, 2.0)
    assert len(setting.intervention.edits) == 1 and setting.intervention.prompt_flow is not None


def test_an_exported_direction_brings_its_layer_and_strength(direction):
    given = direction(chosen_layer=2, strength=-1.5, positions="response")
    served = load_served(config("method=steer", given))
    assert (served.layer, served.strength) == (2, -1.5)
    assert "method.positions=response for what was measured" in served.notes[0]
    served = load_served(config("method=steer", given, "method.positions=response", "strength=3"))
    assert (served.layer, served.strength, served.notes) == (2, 3, [])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=steer"], "method=steer is fitted to a benchmark.* or method.direction=FILE"),
        (["method=few_shot"], "few_shot is fitted to a benchmark, and none is read here"),
        (["method=conditional"], "conditional is fitted to a benchmark"),
        (["method=combine"], "combine is fitted to a benchmark"),
        (["pick=steer"], "pick names a method of a run"),
        (["strength=2"], "strength and layer are those of a method, and there is none"),
        (["method=reminder", "strength=1", "layer=3"], "layer=3: reminder has layers"),
        (["method=reminder", "method.strengths=[3]"], "3 means nothing for method=reminder"),
        (["method=reminder", "method.strengths=[0,1]"], "a model is served at one. Give strength"),
        (["model=vllm", "model.model=x", "method=reminder"], "answers behind an endpoint"),
    ],
)
def test_settings_that_cannot_be_served(overrides, words):
    with pytest.raises(CalibError, match=words):
        load_served(config(*overrides))


def test_a_direction_without_a_point_is_asked_for_one(direction):
    steer = ("method=steer", direction(positions=""))
    with pytest.raises(CalibError, match="a model is served at one. Give strength=1"):
        load_served(config(*steer))
    with pytest.raises(CalibError, match=r"layers \[2, 3\], and a model is served at one"):
        load_served(config(*steer, "strength=1"))
    with pytest.raises(CalibError, match="a budget of KL and layers=auto are for a sweep"):
        load_served(config(*steer, "strength=1", "method.layers=auto"))
    with pytest.raises(CalibError, match="a budget of KL and layers=auto are for a sweep"):
        load_served(config(*steer, "strength=1", "method.kl=0.1"))


def test_a_strength_that_counts_is_one_of_those_that_were_given(tools):
    served = load_served(config("method=reminder"))
    with tools.running(served) as server:
        body = {"model": served.name, "messages": tools.said("Hello"), "max_tokens": 2}
        for strength, status in ((0, 200), (1, 200), (2, 400), (0.5, 400), (-1, 400)):
            reply = tools.post(server, {**body, "calib": {"strength": strength}})
            assert reply.status_code == status, reply.text
        assert "Choose from 0, 1" in tools.post(server, {**body, "calib": {"strength": 2}}).text
        reply = tools.post(server, {**body, "calib": {"layer": 1}})
        assert reply.status_code == 400 and "Leave calib.layer away" in reply.text


def test_the_configuration_refuses_what_means_nothing():
    def make(**changes):
        return ServeConfig(**{"model": None, "method": Steer(), **changes})

    for changes, words in (
        ({"port": 70000}, "port: 70000 is not between 0 and 65535"),
        ({"host": " "}, "host is empty"),
        ({"name": ""}, "name is empty"),
        ({"layer": -1}, "layer: -1 is not between"),
        ({"strength": float("nan")}, "strength: nan"),
        ({"key_env": "sk-123"}, "key_env is not the name of an environment variable"),
        ({"body_mb": 0}, "body_mb: 0"),
        ({"waiting": 0}, "waiting: 0"),
    ):
        with pytest.raises(CalibError, match=words):
            make(**changes)
    with pytest.raises(CalibError, match="early_stop goes by a judge"):
        config("generation.early_stop=true")
