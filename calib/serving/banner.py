"""What a server says when it begins: what it serves, where, and how to ask it."""

import json

from calib.serving.calibrated import Calibrated


def banner(served: Calibrated, url: str, key_env: str | None) -> list[str]:
    """Lines for the terminal; the key itself is in none of them."""
    method = served.method
    lines = [f"serving    {url}"]
    if method is None:
        lines += [f"model      {served.names[0]}"]
    else:
        layer = "no layer of its own" if served.layer is None else f"layer {served.layer}"
        lines += [
            f"model      {served.name}: {method.name}, {layer}, strength {served.strength:g} "
            f"({method.axis.meaning})",
            f"model      {served.names[1]}: as it is",
        ]
    key = f"$(printenv {key_env})" if key_env else ""
    header = f' -H "Authorization: Bearer {key}"' if key_env else ""
    messages = [{"role": "user", "content": "Hello"}]
    asked = json.dumps({"model": served.names[0], "messages": messages})
    api_key = f'os.environ["{key_env}"]' if key_env else '"none"'
    again = ', extra_body={"calib": {"strength": 2}}' if method and not method.axis.whole else ""
    return [
        *lines,
        "",
        f"  curl {url}/chat/completions -H 'Content-Type: application/json'{header} -d '{asked}'",
        "",
        f'  client = openai.OpenAI(base_url="{url}", api_key={api_key})',
        f'  client.chat.completions.create(model="{served.names[0]}", '
        f"messages={json.dumps(messages)}{again})",
        "",
        "Ctrl-C stops it.",
    ]
