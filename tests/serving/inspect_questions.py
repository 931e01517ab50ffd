"""An evaluation with inspect-ai, whose environment does not need calib.

    CALIB_BASE_URL=http://127.0.0.1:8000/v1 CALIB_API_KEY=none \\
        python inspect_questions.py MODEL QUESTIONS.jsonl LOGS

Each line of QUESTIONS has "query", "image" (a data URL, or null) and "target". Prints JSON with the
accuracy and all responses.
"""

import json
import sys
from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, GenerateConfig
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


def sample(line):
    question = json.loads(line)
    image = [ContentImage(image=question["image"])] if question["image"] else []
    message = ChatMessageUser(content=[*image, ContentText(text=question["query"])])
    return Sample(input=[message], target=question["target"])


def main(model, questions, logs):
    samples = [sample(line) for line in Path(questions).read_text(encoding="utf-8").splitlines()]
    task = Task(dataset=MemoryDataset(samples), solver=generate(), scorer=includes())
    (log,) = eval(
        task,
        model=f"openai-api/calib/{model}",
        log_dir=logs,
        display="none",
        max_connections=32,
        **GenerateConfig(temperature=0, max_tokens=12).model_dump(exclude_none=True),
    )
    metrics = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
    responses = [sample.output.completion for sample in log.samples]
    print(json.dumps({"status": log.status, **metrics, "responses": responses}))


if __name__ == "__main__":
    main(*sys.argv[1:])
