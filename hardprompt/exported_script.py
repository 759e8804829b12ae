"""Measure the accuracy of a prompt with plain transformers: `python evaluate.py MODEL`, with the folder or id of the model.

`task.json`, next to this file, has the test examples as texts with the prompt in place.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@torch.no_grad()
def main(name: str) -> None:
    task = json.loads(Path(__file__).with_name("task.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, task["dtype"])).eval()

    def encode(text: str) -> torch.Tensor:
        return tokenizer(text, add_special_tokens=task["special_tokens"], return_tensors="pt").input_ids

    right = 0
    for example in task["examples"]:
        ids = encode(example["text"])
        if task["label_words"]:  # each is one token, which follows the text and the separator
            words = [encode(example["text"] + task["separator"] + word)[0, -1] for word in task["label_words"]]
            right += int(model(input_ids=ids).logits[0, -1, words].argmax()) == example["answer"]
        else:
            asked = {"max_new_tokens": task["max_new_tokens"], "do_sample": False, "pad_token_id": tokenizer.eos_token_id}
            answer = model.generate(ids, attention_mask=torch.ones_like(ids), **asked)[0, ids.shape[1] :]
            text = tokenizer.decode(answer, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            right += text.lstrip(" ").split("\n")[0].strip() == example["answer"]
    print(f"test accuracy {right / len(task['examples'])} ({right} of {len(task['examples'])} examples)")


if __name__ == "__main__":
    main(sys.argv[1])
