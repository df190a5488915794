"""Code to copy for a first call of a model."""

from dataclasses import dataclass

PYTHON = """from openai import OpenAI

client = OpenAI(base_url="{base_url}", api_key="sk-tm-...")

answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "Hello!"}}],
)
print(answer.choices[0].message.content)
"""
NODE = """import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{base_url}", apiKey: "sk-tm-..." }});

const answer = await client.chat.completions.create({{
  model: "{model}",
  messages: [{{ role: "user", content: "Hello!" }}],
}});
console.log(answer.choices[0].message.content);
"""
CURL = """curl {base_url}/chat/completions \\
  -H "Authorization: Bearer sk-tm-..." \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
"""


@dataclass(frozen=True, slots=True)
class Sample:
    id: str
    title: str
    code: str


def chat(*, model: str, base_url: str) -> tuple[Sample, ...]:
    """The same call in three ways."""
    return tuple(
        Sample(f"sample-{title.lower()}", title, text.format(model=model, base_url=base_url))
        for title, text in (("Python", PYTHON), ("Node", NODE), ("cURL", CURL))
    )
