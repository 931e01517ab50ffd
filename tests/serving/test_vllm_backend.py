"""The client of engine.base_url against calib.serve, which speaks the protocol of vllm-lens."""

from server_thread import TOKENS, messages_of

from calib.config.engine import VllmChoice
from calib.engine.edits import Edit
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.engine.vllm.probe import probe
from calib.engine.vllm.request import SteeringVector, VllmRequest
from calib.engine.vllm.server.backend import ServerBackend
from calib.interventions.steering import operator_at
from calib.models.prompts import read_prompt


def test_steered_completions_and_activations_equal_the_engines(
    server, vlm, direction, mixed_examples
):
    vector = operator_at("add", direction, 3, 1.0).vector
    requests, rows = [], []
    for example in [e for e in mixed_examples if not e.demonstrations][:6]:
        for scale in (0.0, 4.0, -4.0):
            steering = SteeringVector((3,), vector[None], scale=scale)
            requests.append(
                VllmRequest(messages_of(example), TOKENS, vectors=(steering,), residual_layers=(3,))
            )
            edit = operator_at("add", direction, 3, scale)
            rows.append(Request(example, (Edit(3, edit, "all"),)))
    config = VllmChoice(base_url=server.url, served_model="mini-uncalibrated")
    with ServerBackend(config, vlm.checkpoint) as backend:
        probe(backend, messages_of(mixed_examples[0]), vlm.width, vlm.num_layers)
        completions = dict(backend.complete(requests, 4))
    expected = generate(vlm, rows, Decoding(max_new_tokens=TOKENS, kl=False))
    for index, response in enumerate(expected):
        completion = completions[index]
        assert (completion.text, completion.tokens) == (response.text, response.tokens)
        prompt = read_prompt(vlm, rows[index].example)
        assert list(completion.prompt_tokens) == prompt.tokens.tolist()
        length = len(completion.prompt_tokens) + len(completion.tokens) - 1
        assert completion.residual[3].shape == (length, vlm.width)
