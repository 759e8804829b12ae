"""What does a chat model say when it is asked for the instruction behind some examples?

    python runs/ask_for_instruction.py --lm smollm2 --data ../shared/data

Prints eight sampled answers for three tasks and three ways of asking.
"""

import argparse

import torch

from hardprompt import load_lm
from hardprompt.records.request import StudyRequest
from hardprompt.study.loading import load_tasks

TASKS = (
    {"task": "sst5", "data": "fewshot/sst-5", "splits": ("13",)},
    {"task": "singular-plural", "data": "relations"},
    {"task": "landmark-country", "data": "relations"},
)
QUESTIONS = (
    "{pairs}\nWhat is the instruction that asks for these outputs? Answer with the instruction only.",
    "{pairs}\nWhat does each output say about its input? Answer in a few words, followed by a colon.",
    "Someone answers questions about texts.\n{pairs}\nWhat was the question?",
)
EXAMPLES, SAMPLES, TOKENS = 4, 8, 10


def main() -> None:
    """Print the answers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lm", default="smollm2")
    parser.add_argument("--data", required=True)
    given = parser.parse_args()
    lm, generator = load_lm(given.lm), torch.Generator().manual_seed(0)
    for fields in TASKS:
        request = StudyRequest.make(**fields | {"data": f"{given.data}/{fields['data']}", "lm": given.lm, "limit": 50})
        [task] = load_tasks(request).values()
        for question in QUESTIONS:
            chosen = [task.train[i] for i in torch.randperm(len(task.train), generator=generator)[:EXAMPLES].tolist()]
            pairs = "\n".join(
                f"Input: {each.input}\nOutput: {task.label_words.get(each.answer, each.answer)}" for each in chosen
            )
            messages = [{"role": "user", "content": question.format(pairs=pairs)}]
            text = lm.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            read = torch.tensor([lm.encode(text)] * SAMPLES, device=lm.device)
            torch.manual_seed(0)
            written = lm.model.generate(
                read, attention_mask=torch.ones_like(read), max_new_tokens=TOKENS, do_sample=True, temperature=0.8, top_k=50
            )
            print(f"\n{task.name}: {question.format(pairs='...')!r}")
            for ids in written[:, read.shape[1] :].tolist():
                print(f"  {lm.decode(ids).strip()!r}")


if __name__ == "__main__":
    main()
