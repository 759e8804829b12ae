"""GSM8K: a mathematical problem in words.

The model may reason for 256 tokens at most, and the number that its answer ends with must be the right one: the number after
"####", after "answer is", or the last one. The loss is that of the right number alone, directly after the template. Small
models solve nearly none of the problems (a model of 135 million parameters: accuracy near zero), so that only their losses
tell prompts apart. Decoding takes most of the time: use `--limit` and `--shots`.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="gsm8k",
    description="Solve a mathematical problem in words, with a reasoning of limited length.",
    template="{prompt}\nQuestion: {input}\nAnswer:",
    match="number",
    max_answer_tokens=256,
    reference_prompts=(
        "Solve the problem step by step , then write the answer as a number after ####.",
        "Think step by step and end with the number that answers the question.",
        "Answer the question with a number.",
    ),
    truncate_to="end",
    layouts=(ColumnLayout("{question}", "answer", after="####"),),
    hub=("openai/gsm8k", "main"),
    citation="Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems",
    licence="MIT",
    source="https://github.com/openai/grade-school-math",
)
