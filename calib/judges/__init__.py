"""Judges label responses: one file each, found by its name.

A judge's file says in its first lines how it labels a response, and has a function

    def build(config: ItsConfig) -> Judge: ...

and, where some data cannot be judged by it,

    def check(config: ItsConfig, data: str) -> None: ...

calib.judges.registry finds the file. A judge's id names everything that its labels depend on.
"""
