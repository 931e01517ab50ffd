"""Responses of the server: token for token those of the engine offline."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from PIL import Image
from server_thread import TOKENS, data_url, messages_of, post, send, user_message

from calib.data.example import Turn
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.engine.sharing import plain_tokens
from calib.serving.messages import parse_messages

STRENGTHS = (-4.0, -1.0, 0.0, 0.5, 1.0, 2.0, 4.0)
QUERY = "How do I kill a Python process?"


@pytest.fixture(scope="module")
def examples(mixed_examples):
    """Examples with and without images, system prompts and earlier turns."""
    examples = list(mixed_examples)
    with_image = next(e for e in examples if e.picture)
    text_only = next(e for e in examples if not e.picture)
    earlier = (Turn("What is this?", "This is a red ball.", with_image.picture),)
    examples.append(replace(text_only, demonstrations=earlier))
    examples.append(replace(with_image, demonstrations=(*earlier, Turn("Hello", "Hello."))))
    examples.append(replace(with_image, system="Remember to be a responsible assistant."))
    return examples


def test_64_concurrent_requests_of_mixed_strengths_match_the_engine(
    vlm, steered, server, examples, monkeypatch
):
    draw = random.Random(0)
    rows = [
        (examples[k % len(examples)], draw.choice((2, 3)), draw.choice(STRENGTHS))
        for k in range(64)
    ]
    decoding = Decoding(max_new_tokens=TOKENS)
    requests = [Request(e, steered.setting(layer, s).intervention.edits) for e, layer, s in rows]
    expected = generate(vlm, requests, decoding)
    alone = [generate(vlm, [request], decoding)[0] for request in requests[:12]]
    assert [r.tokens for r in expected[:12]] == [r.tokens for r in alone]
    unedited = {id(e): generate(vlm, [Request(e)], decoding)[0] for e in examples}
    changed = sum(
        r.text != unedited[id(e)].text for (e, _, _), r in zip(rows, expected, strict=True)
    )
    assert changed > 16, "edits that change no response would test nothing"
    for request, response in list(zip(requests, expected, strict=True))[:6]:
        tokens = plain_tokens(vlm, request, len(response.tokens))[0]
        assert tokens == list(response.tokens)

    batches, attempt = [], server.worker._attempt
    monkeypatch.setattr(
        server.worker, "_attempt", lambda jobs: (batches.append(len(jobs)), attempt(jobs))[1]
    )
    start = threading.Barrier(64)

    def send_row(row):
        example, layer, strength = row
        with server.client() as client:
            start.wait()
            return client.chat.completions.create(
                model="mini",
                messages=messages_of(example),
                extra_body={"calib": {"strength": strength, "layer": layer}},
            )

    with ThreadPoolExecutor(64) as pool:
        completions = list(pool.map(send_row, rows))
    for (_, layer, strength), completion, response in zip(rows, completions, expected, strict=True):
        (choice,) = completion.choices
        assert choice.message.content == response.text
        assert choice.finish_reason == response.finish
        assert completion.usage.completion_tokens == len(response.tokens)
        if strength:
            assert completion.calib == {"method": "steer", "layer": layer, "strength": strength}
        else:
            assert completion.calib == {"method": "none", "layer": None, "strength": 0}
    assert sum(batches) == 64 and max(batches) >= 16, f"too many small batches: {batches}"


def test_requests_without_override_get_the_operating_point(client):
    messages = user_message("Hello")
    texts = {}
    for name in ("mini", "mini-uncalibrated"):
        completion = client.chat.completions.create(model=name, messages=messages)
        assert completion.model == name
        texts[name] = completion.choices[0].message.content
    explicit = client.chat.completions.create(
        model="mini", messages=messages, extra_body={"calib": {"strength": 4.0, "layer": 3}}
    )
    zero = client.chat.completions.create(
        model="mini", messages=messages, extra_body={"calib": {"strength": 0}}
    )
    assert texts["mini"] == explicit.choices[0].message.content
    assert texts["mini-uncalibrated"] == zero.choices[0].message.content
    assert texts["mini"] != texts["mini-uncalibrated"]


def test_token_limits_and_counts(vlm, client):
    messages = user_message(QUERY)
    old_name = client.chat.completions.create(
        model="mini-uncalibrated", messages=messages, max_tokens=2
    )
    new_name = client.chat.completions.create(
        model="mini-uncalibrated", messages=messages, max_completion_tokens=2
    )
    assert old_name.choices[0].finish_reason == "length"
    assert old_name.usage.completion_tokens == new_name.usage.completion_tokens == 2
    assert old_name.choices[0].message.content == new_name.choices[0].message.content
    assert old_name.usage.total_tokens == old_name.usage.prompt_tokens + 2
    prompt = vlm.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": QUERY}]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    assert old_name.usage.prompt_tokens == len(prompt["input_ids"][0])


def test_sampling_depends_on_the_seed(client):
    def sample(**settings):
        completion = client.chat.completions.create(
            model="mini-uncalibrated",
            messages=user_message("What is a knife?"),
            temperature=2.0,
            **settings,
        )
        return completion.choices[0].message.content

    assert sample(seed=1) == sample(seed=1)
    assert len({sample(seed=k) for k in range(6)}) > 1
    assert len({sample() for _ in range(8)}) > 1
    assert sample(seed=-(2**63)) and sample(seed=2**63 - 1)


def test_sampled_responses_match_the_engine(vlm, client, mixed_examples):
    example = mixed_examples[0]
    decoding = Decoding(max_new_tokens=TOKENS, temperature=1.5, top_p=0.9)
    offline = generate(vlm, [Request(example, seed=5)], decoding)[0]
    completion = client.chat.completions.create(
        model="mini-uncalibrated",
        messages=messages_of(example),
        temperature=1.5,
        top_p=0.9,
        seed=5,
    )
    assert completion.choices[0].message.content == offline.text


def test_text_parts_become_lines_after_the_image(client):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": data_url(Image.new("RGB", (40, 40), "red"))}},
        {"type": "text", "text": "Say it."},
    ]
    image_first = [parts[1], {"type": "text", "text": "What is this?\nSay it."}]
    completions = [
        client.chat.completions.create(
            model="mini", messages=[{"role": "user", "content": content}]
        )
        for content in (parts, image_first)
    ]
    texts = [completion.choices[0].message.content for completion in completions]
    assert texts[0] == texts[1]
    assert completions[0].usage == completions[1].usage
    example = parse_messages([{"role": "user", "content": parts}]).example
    assert example.query == "What is this?\nSay it." and example.picture is not None


def test_several_images_of_a_turn_reach_the_model_in_order(vlm, server):
    images = [data_url(Image.new("RGB", (64, 64), colour)) for colour in ("red", "blue")]

    def message(*urls):
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}]

    conversation = parse_messages(message(*images))
    colours = [shown().getpixel((0, 0)) for shown in conversation.example.pictures]
    assert colours == [(255, 0, 0), (0, 0, 255)] and len(conversation.images) == 2
    hashes = {
        parse_messages(message(*urls)).prompt_hash
        for urls in (images, images[::-1], images[:1], images[1:], images * 2)
    }
    assert len(hashes) == 5
    reply = post(server, {"model": "mini-uncalibrated", "messages": message(*images)})
    expected = generate(vlm, [Request(conversation.example)], Decoding(max_new_tokens=TOKENS))
    assert reply.json()["choices"][0]["message"]["content"] == expected[0].text


def test_a_stop_sequence_ends_the_response_and_is_left_out(client):
    def complete(**settings):
        return client.chat.completions.create(
            model="mini-uncalibrated", messages=user_message(QUERY), **settings
        )

    text = complete().choices[0].message.content
    words = text.split()
    assert len(words) > 3
    stopped = complete(stop=[words[2]])
    assert stopped.choices[0].message.content == text[: text.index(words[2])]
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.usage.completion_tokens < complete().usage.completion_tokens
    assert complete(stop="not in it").choices[0].message.content == text
    assert complete(stop=words[0]).choices[0].message.content == ""
    # A stop sequence that ends with the last allowed token counts too.
    short = complete(max_tokens=2).choices[0].message.content
    choice = complete(max_tokens=2, stop=short[-1]).choices[0]
    assert choice.message.content == short[: short.index(short[-1])]
    assert choice.finish_reason == "stop"


def test_the_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["mini", "mini-uncalibrated"]
    assert client.models.retrieve("mini-uncalibrated").id == "mini-uncalibrated"


def test_models_name_the_verdict_of_their_run(steered, server):
    def models():
        return {m["id"]: m.get("verdict") for m in send(server, "GET", "/v1/models").json()["data"]}

    assert models() == {"mini": None, "mini-uncalibrated": None}
    plain, server.server.served = steered, replace(steered, verdict="No: less safe.")
    assert models() == {"mini": "No: less safe.", "mini-uncalibrated": None}
    server.server.served = plain


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "unknown_url"),
        ("PUT", "/v1/models", 405, "unknown_url"),
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("POST", "/v1/completions", 404, "unknown_url"),
        ("GET", "/v1/models/gpt", 404, "model_not_found"),
        *[("GET", path, 404, "unknown_url") for path in ("/docs", "/redoc", "/")],
    ],
)
def test_unknown_urls_and_methods_get_errors_of_the_api(server, method, path, status, code):
    reply = send(server, method, path)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert (error["code"], error["type"]) == (code, "invalid_request_error")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"],
)
def test_other_content_types_are_refused(server, kind):
    body = {"model": "mini", "messages": user_message("Hello"), "max_tokens": 2}
    reply = post(server, body, kind)
    assert reply.status_code == 415
    assert reply.json()["error"]["code"] == "invalid_content_type"
    assert post(server, body, "application/json; charset=utf-8").status_code == 200
