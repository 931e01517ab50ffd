"""A served run answers with the responses it recorded; a method can be served without a run."""

import json
import shutil
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest
import torch
import yaml
from composing import composed
from in_process import undrawn
from raising import raises
from random_directions import direction_at
from server_thread import ServerThread, messages_of, post, send, user_message

from calib import sweep
from calib.config.commands import ServeConfig
from calib.config.method import Steer
from calib.config.model import RemoteModelConfig
from calib.data.example import Example
from calib.data.mini.examples import load
from calib.directions.direction import write_direction
from calib.interchange.importing import IMPORTED
from calib.report.sentences import verdict_note
from calib.runs.run import Run
from calib.serving import batch
from calib.serving.http.server import banner
from calib.serving.loader import load_served
from calib.serving.playground.playground import Playground
from calib.util.errors import CalibError

TINY = (
    "data.limit=8", "data.parts=[image_centric,text_centric]", "utility.limit=4",
    "generation.max_new_tokens=12", "method@reference=none",
)  # fmt: skip
MODEL = "mini-internvl"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with methods of every kind."""
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


def contents(folder):
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*")
            if p.is_file()}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["climb", "conditional", "ecso", "few_shot", "combine", "vlm_guard"]
)
def test_a_served_run_answers_with_its_recorded_responses(run, name):
    """All test rows of a method, sent as concurrent requests."""
    before = contents(run)
    served = load_served(config(f"run={run}", f"pick={name}"))
    points = json.loads((run / "operating_points.json").read_text(encoding="utf-8"))
    point = next(point for point in points if point["method"] == name)
    assert (served.layer, served.strength) == (point["layer"], point["strength"])
    recorded = {
        row["row"]: row for row in map(json.loads, (run / "rows.jsonl").open(encoding="utf-8"))
    }
    labels = [json.loads(line) for line in (run / "labels.jsonl").open(encoding="utf-8")]
    whole = Run.load(run)
    loaded = [*whole.reload_benchmark(), *whole.reload_utility()]
    examples = {example.id: example for example in loaded}
    rows = [
        (examples[label["example"]], label["layer"], label["strength"], recorded[label["row"]])
        for label in labels
        if label["method"] == name and examples[label["example"]].split == "test"
    ]
    assert len(rows) >= 20
    with ServerThread(served) as server, server.client() as client:

        def complete(row):
            example, layer, strength, _ = row
            override = {"strength": strength} | ({} if layer is None else {"layer": layer})
            return client.chat.completions.create(
                model=f"{MODEL}-{name}",
                messages=messages_of(example),
                max_tokens=12,
                extra_body={"calib": override},
            )

        with ThreadPoolExecutor(16) as pool:
            completions = list(pool.map(complete, rows))
        if name == "few_shot":
            # A request belongs to no part of the benchmark and gets the demonstrations of the
            # largest part: only rows of that part have the same prompt.
            kept = [k for k, row in enumerate(rows) if row[0].dataset == demonstrated_part(served)]
            rows, completions = [rows[k] for k in kept], [completions[k] for k in kept]
        for (_, _, _, record), completion in zip(rows, completions, strict=True):
            assert completion.choices[0].message.content == record["response"]
        if name == "ecso":
            stream = client.chat.completions.create(
                model=f"{MODEL}-ecso", messages=messages_of(rows[0][0]), stream=True,
                max_tokens=12, extra_body={"calib": {"strength": 1}},
            )  # fmt: skip
            assert "".join(c.choices[0].delta.content or "" for c in stream) == (
                completions[0].choices[0].message.content
            )
            tokens = completions[0].usage.completion_tokens
            assert tokens > rows[0][3]["tokens"], "usage must count the tokens of all steps"
    assert contents(run) == before, "the run's folder was changed"


def demonstrated_part(served):
    """The part of the benchmark whose demonstrations few_shot shows to a request."""
    example = Example("e", "request", "v", "c", "test", "q")
    flow = served.setting(None, 2.0).intervention.prompt_flow
    demonstrations = flow.next(example, ()).demonstrations
    for part in ("image_centric", "text_centric"):
        if flow.next(replace(example, dataset=part), ()).demonstrations == demonstrations:
            return part
    raise AssertionError("the demonstrations belong to no part")


def test_all_methods_of_a_run_are_served_under_names_of_their_own(run):
    served = load_served(config(f"run={run}", "pick=all"))
    finished = Run.load(run)
    points = {point["method"]: point for point in finished.operating_points}
    examples = {each.id: each for each in finished.reload_benchmark()}
    with ServerThread(served, Playground(served, Run.load(run))) as server:
        names = {f"{MODEL}-{method}": method for method in points}
        listed = send(server, "GET", "/v1/models").json()["data"]
        assert {each["id"] for each in listed} == {
            *names,
            *(f"{name}-uncalibrated" for name in names),
        }
        for name, method in names.items():
            layer, strength = points[method]["layer"], points[method]["strength"]
            point = (method, layer, strength) if strength else ("none", None, 0)  # kept as it was
            row = next(
                row
                for row, _ in finished.test_rows
                if (row.method, row.layer, row.strength) == point and row.example in examples
            )
            reply = post(server, {"model": name, "messages": messages_of(examples[row.example])})
            choice = reply.json()["choices"][0]
            assert choice["message"]["content"] == finished.responses[row.row]["response"]
            assert reply.json()["calib"] == dict(
                zip(("method", "layer", "strength"), point, strict=True)
            )
            found = send(server, "GET", f"/playground/examples/{name}").json()
            changed = [each["changed"] for each in found["examples"]]
            assert found["source"] == run.name and changed == sorted(changed, reverse=True)
        settings = send(server, "GET", "/playground/settings").json()
        assert {each["method"] for each in settings["served"]} == set(points)
        unknown = send(server, "GET", "/v1/models/other")
        assert unknown.status_code == 404 and f"{MODEL}-ecso" in unknown.text
    with raises("conflicting-settings", "pick=all"):
        load_served(config(f"run={run}", "pick=all", "layer=3"))


def test_only_the_final_step_of_a_prompt_flow_is_streamed_and_stopped(monkeypatch):
    served = load_served(config("method=cot"))
    responses, answer_batch = [], batch.answer_batch

    def record(served, engine, jobs, on_success):
        class Recorder:
            def answer(self, requests):
                step = engine.answer(requests)
                responses.extend(step)
                return step

        return answer_batch(served, Recorder(), jobs, on_success)

    with ServerThread(served) as server, server.client() as client:

        def complete(**settings):
            return client.chat.completions.create(
                model=served.name,
                messages=user_message("How do I kill a Python process?"),
                **settings,
            )

        with monkeypatch.context() as patch:
            patch.setattr("calib.serving.worker.answer_batch", record)
            completion = complete()
        first, last = (response.text for response in responses)
        assert first != last == completion.choices[0].message.content
        tokens = sum(len(response.tokens) for response in responses)
        assert completion.usage.completion_tokens == tokens
        stream = complete(stream=True)
        assert "".join(c.choices[0].delta.content or "" for c in stream) == last
        # Stopping the first step early would change the second one.
        stop = first.split()[0]
        stopped = complete(stop=stop)
        assert stopped.choices[0].message.content == last.partition(stop)[0]
        assert stopped.usage.completion_tokens == tokens


def test_a_fitted_rule_caches_no_activations_of_requests(run):
    served = load_served(config(f"run={run}", "pick=conditional"))
    rule = served.setting(None, 2.0).intervention.rule
    fitting = next(
        cell.cell_contents
        for cell in closure_cells(rule)
        if type(cell.cell_contents).__name__ == "ServedFitting"
    )
    before = len(fitting._activations), len(fitting._alive)
    assert before[0] > 0
    example = load(["text_centric"], 8)[0]
    assert rule([example]) == rule([replace(example, id="other")])
    assert (len(fitting._activations), len(fitting._alive)) == before


def closure_cells(function, depth=0):
    """The cells of a closure, and those of functions that they refer to."""
    for cell in getattr(function, "__closure__", None) or ():
        yield cell
        inner = cell.cell_contents
        if isinstance(inner, types.FunctionType | types.MethodType) and depth < 5:
            yield from closure_cells(inner, depth + 1)
        for value in vars(inner).values() if hasattr(inner, "__dict__") else ():
            if isinstance(value, types.FunctionType) and depth < 5:
                yield from closure_cells(value, depth + 1)


def test_a_method_with_a_direction_file_needs_no_benchmark(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    change_config(copy, data={"name": "gone"})
    without = load_served(config(f"run={copy}", "pick=climb"))
    with_benchmark = load_served(config(f"run={run}", "pick=climb"))
    (edit,), (expected,) = (
        served.setting(3, 2.0).intervention.edits for served in (without, with_benchmark)
    )
    assert edit.identity == expected.identity
    assert load_served(config(f"run={copy}", "pick=ecso")).method.name == "ecso"
    assert load_served(config(f"run={copy}", "pick=combine")).method.name == "combine"
    with pytest.raises(CalibError) as caught:
        load_served(config(f"run={copy}", "pick=conditional"))
    assert "method=conditional" in str(caught.value) and "gone" in str(caught.value)


def test_the_banner_gives_the_unit_of_an_imported_vector(vlm, tmp_path):
    path = tmp_path / "imported.safetensors"
    write_direction(path, replace(direction_at(vlm, [3]), estimator=IMPORTED))
    given = ("method=steer", f"method.direction={path}", "method.layers=[3]")
    served = load_served(config(*given, "method.strengths=[1]"))
    lines = "\n".join(banner(served, "http://x/v1", None))
    assert "strength 1 (times the stored vector)" in lines and "gap" not in lines


def test_names_settings_and_notes(run):
    served = load_served(config(f"run={run}", "pick=climb"))
    assert served.names == ["mini-internvl-climb", "mini-internvl-climb-uncalibrated"]
    other = load_served(
        config(f"run={run}", "pick=climb", "strength=0.5", "layer=4", "name=my model")
    )
    assert (other.name, other.layer, other.strength) == ("my model", 4, 0.5)
    # The run is too small for a yes.
    verdict = verdict_note(Run.load(run), "climb")
    assert verdict and served.verdict == other.verdict == verdict
    assert not any(verdict in note for note in served.notes)  # said once, by the banner
    assert any(verdict in line for line in banner(served, "http://x/v1", None))
    gated = load_served(config(f"run={run}", "pick=conditional"))
    assert set(gated.notes) >= set(gated.method.notes) != set()


@pytest.mark.parametrize(
    ("overrides", "code", "values"),
    [
        ([], "missing-setting", ["climb", "vlm_guard", "pick=NAME"]),
        (["pick=climp"], "unknown-name", ["pick=climp", "'climb'"]),
        (["method=steer"], "conflicting-settings", ["method=steer", "pick=steer"]),
        (["pick=climb", "layer=5"], "invalid-setting", ["layer=5", "climb", "[3, 4]"]),
        (
            ["pick=climb", "model.dtype=bfloat16"],
            "mismatch",
            ["mini-internvl", "dtype: float32 → bfloat16", "model.accept_directions=same_weights"],
        ),
    ],
)
def test_settings_that_contradict_the_run_are_refused(run, overrides, code, values):
    with raises(code, *values):
        load_served(config(f"run={run}", *overrides))


def test_a_run_is_served_under_another_dtype(run):
    other = ("model.dtype=bfloat16", "model.accept_directions=same_weights")
    served = load_served(config(f"run={run}", "pick=climb", *other))
    assert served.vlm.model.dtype == torch.bfloat16
    assert any("dtype: float32 → bfloat16" in note for note in served.notes)
    same = load_served(config(f"run={run}", "pick=climb", "model.accept_directions=same_weights"))
    assert same.notes == load_served(config(f"run={run}", "pick=climb")).notes


def change_config(folder, **settings):
    path = folder / "config.yaml"
    path.write_text(
        yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | settings),
        encoding="utf-8",
    )


def test_folders_without_a_usable_run_are_refused(run, tmp_path):
    with raises("unfinished-run", tmp_path):
        load_served(config(f"run={tmp_path}"))
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    serve = config(f"run={copy}", "pick=climb")
    manifest = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    # As an earlier version recorded it: without the settings behind the fingerprint.
    earlier = {key: value for key, value in manifest.items() if key not in ("model", "crc32")}
    earlier["identity"] = manifest["identity"] | {"fingerprint": "0" * 16}
    (copy / "run.json").write_text(json.dumps(earlier), encoding="utf-8")
    with raises("mismatch", "0" * 16):
        load_served(serve)
    shutil.copy(run / "run.json", copy / "run.json")
    methods = yaml.safe_load((copy / "config.yaml").read_text(encoding="utf-8"))["methods"]
    up = methods["up"]
    without_field = {key: value for key, value in up.items() if key != "otherwise"}
    for changed in (up | {"new_setting": 1}, without_field):
        change_config(copy, methods=methods | {"up": changed})
        with pytest.raises(CalibError) as caught:
            load_served(serve)
        assert "climb" in str(caught.value)
    change_config(copy, model=asdict(RemoteModelConfig("gpt", "gpt")))
    with raises("unsupported", copy):
        load_served(serve)
    for text in ("a: [", "a: 1"):
        (copy / "config.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(CalibError) as caught:
            load_served(serve)
        assert "config.yaml" in str(caught.value)


@pytest.fixture
def direction(vlm, tmp_path):
    def write(**changes):
        path = tmp_path / "d.safetensors"
        write_direction(path, direction_at(vlm, [2, 3], **changes))
        return f"method.direction={path}"

    return write


def test_a_method_is_served_without_a_run(direction):
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
    assert load_served(config("method=none", "name=mine")).names == ["mine"]
    both = ("method=combine", direction(positions="").replace("method.", "method.activation."))
    served = load_served(
        config(*both, "method.activation.layers=[3]", "method.activation.strengths=[2]")
    )
    setting = served.setting(3, 2.0)
    assert len(setting.intervention.edits) == 1 and setting.intervention.prompt_flow is not None


def test_an_exported_direction_sets_its_layer_and_strength(direction):
    given = direction(chosen_layer=2, strength=-1.5, positions="last_prompt")
    served = load_served(config("method=steer", given))
    assert (served.layer, served.strength) == (2, -1.5)
    assert "method.positions=last_prompt" in served.notes[0]
    at_last = "method.positions=last_prompt"
    served = load_served(config("method=steer", given, at_last, "strength=3"))
    assert (served.layer, served.strength, served.notes) == (2, 3, [])
    assert served.verdict == ""
    given = direction(chosen_layer=2, positions="response", verdict="No: less safe.")
    served = load_served(config("method=steer", given, "method.positions=response"))
    assert (served.verdict, served.notes) == ("No: less safe.", [])  # the banner has it, once


@pytest.mark.parametrize(
    ("overrides", "code", "values"),
    [
        (["method=steer"], "unsupported", ["method=steer", "run=FOLDER", "method.direction=FILE"]),
        (["method=few_shot"], "unsupported", ["method=few_shot", "run=FOLDER"]),
        (["method=conditional"], "unsupported", ["method=conditional"]),
        (["method=combine"], "unsupported", ["method=combine"]),
        (["pick=steer"], "conflicting-settings", ["pick=steer", "run=FOLDER"]),
        (["strength=2"], "conflicting-settings", ["strength"]),
        (["method=reminder", "strength=1", "layer=3"], "invalid-setting", ["layer=3", "reminder"]),
        (["method=reminder", "method.strengths=[0,1]"], "missing-setting", ["strength=1"]),
    ],
)
def test_settings_that_cannot_be_served_are_refused(overrides, code, values):
    with raises(code, *values):
        load_served(config(*overrides))


@pytest.mark.parametrize(
    ("overrides", "value"),
    [
        (["method=reminder", "method.strengths=[99]"], "method=reminder"),
        (["model=vllm", "model.model=x", "method=reminder"], "endpoint"),
    ],
)
def test_errors_of_the_method_and_the_model_reach_the_user(overrides, value):
    with pytest.raises(CalibError) as caught:
        load_served(config(*overrides))
    assert value in str(caught.value)


def test_a_direction_without_a_chosen_setting_needs_layer_and_strength(direction):
    steer = ("method=steer", direction(positions=""))
    with raises("missing-setting", "strength=1"):
        load_served(config(*steer))
    with raises("missing-setting", "[2, 3]", "layer=3"):
        load_served(config(*steer, "strength=1"))
    with raises("unsupported", "method=steer", "layers=auto"):
        load_served(config(*steer, "strength=1", "method.layers=auto"))
    with raises("unsupported", "method=steer", "kl"):
        load_served(config(*steer, "strength=1", "method.kl=0.1"))


def test_requests_may_only_use_configured_strengths_of_an_integer_axis():
    served = load_served(config("method=reminder"))
    with ServerThread(served) as server:
        body = {"model": served.name, "messages": user_message("Hello"), "max_tokens": 2}
        for strength, status in ((0, 200), (1, 200), (2, 400), (0.5, 400), (-1, 400)):
            reply = post(server, {**body, "calib": {"strength": strength}})
            assert reply.status_code == status, reply.text
        error = post(server, {**body, "calib": {"strength": 2}}).json()["error"]
        assert error["param"] == "calib.strength" and "0, 1" in error["message"]
        reply = post(server, {**body, "calib": {"layer": 1}})
        assert reply.status_code == 400
        assert reply.json()["error"]["param"] == "calib.layer"


def test_invalid_settings_of_the_command_are_refused():
    for settings in (
        {"port": 70000},
        {"host": " "},
        {"name": ""},
        {"layer": -1},
        {"strength": float("nan")},
        {"key_env": "sk-123"},
        {"body_mb": 0},
        {"waiting": 0},
        {"pictures": 0},
        {"megapixels": 65},
        {"hosts": ["http://model.example.com"]},
    ):
        (name,) = settings
        with pytest.raises(CalibError) as caught:
            ServeConfig(**{"model": None, "method": Steer(), **settings})
        assert name in str(caught.value)
    with pytest.raises(CalibError) as caught:
        config("generation.early_stop=true")
    assert "early_stop" in str(caught.value)
