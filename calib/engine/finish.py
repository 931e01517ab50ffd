"""When a row has said its last token, and what its response is then."""

from collections.abc import Callable, Sequence

import torch

from calib.engine.choose import Chooser
from calib.engine.decoding import Response
from calib.engine.row import Row, history
from calib.vlm.load import VLM


class Finish:
    """Writes tokens to rows and tells which of them have ended."""

    def __init__(
        self,
        vlm: VLM,
        chooser: Chooser,
        max_new_tokens: int,
        landed: Callable[[], None] | None = None,
    ) -> None:
        """``landed`` is called for every row that has ended."""
        self.vlm, self.chooser = vlm, chooser
        self.max_new_tokens, self.landed = max_new_tokens, landed

    def scores(self, rows: Sequence[Row], logits: torch.Tensor) -> torch.Tensor:
        """Logits as the checkpoint's generation settings change them. # [rows, vocabulary]"""
        if not self.chooser.processors:
            return logits
        # Rows of one length at a time: padding would count as something that was said.
        scores = logits.clone()
        lengths = [len(row.prompt.tokens) + len(row.tokens) for row in rows]
        for length in set(lengths):
            alike = [k for k, other in enumerate(lengths) if other == length]
            said = torch.stack([history(rows[k]) for k in alike])
            scores[alike] = self.chooser.processors(said, logits[alike])
        return scores

    def write(self, rows: Sequence[Row], scores: torch.Tensor) -> torch.Tensor:
        """Choose and write the next token of each row. # [rows, vocabulary] float32

        Returns the tokens; -1 where the scores are not finite. # [rows] int64
        """
        chosen = self.chooser.choose(scores, [row.generator for row in rows])
        for row, token in zip(rows, chosen.tolist(), strict=True):
            row.tokens.append(token)
        return chosen

    def ended(self, row: Row) -> bool:
        """Whether a row has said its last token; notes how it ended."""
        if row.tokens[-1] < 0:
            row.finish = "not_finite"
        elif row.tokens[-1] in self.chooser.ends:
            row.finish = "stop"
        elif len(row.tokens) == self.max_new_tokens:
            row.finish = "length"
        elif row.certain is not None and row.certain(self._text(row.tokens)):
            row.finish = "cut"
        if row.finish is not None and self.landed is not None:
            self.landed()
        return row.finish is not None

    def response(self, row: Row) -> Response:
        """What a row that has ended answered."""
        assert row.finish is not None
        tokens = tuple(token for token in row.tokens if token >= 0)
        return Response(self._text(tokens), tokens, row.finish, row.kl)

    def _text(self, tokens: Sequence[int]) -> str:
        return self.vlm.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
