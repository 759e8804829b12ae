"""Wrong requests and wrong files: status 2, one line with the error and what to do, and nothing is written."""

import json
import os
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from hardprompt.records.request import StudyRequest
from hardprompt.study.runner import compare
from tests.helpers import Ask
from tests.helpers.malformed import Wrong, check, contents, lay_out
from tests.helpers.tiny import save_tiny, tiny_task, write_jsonl

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "hardprompt")


# Files that several rows need

TASKS = """
from hardprompt import Example, Task, Template
examples = [Example("the cat sat", "a mat"), Example("red green", "blue")]
task = Task(name="words", template=Template("{input} {prompt}"), train=examples, dev=examples, test=examples)
number = 7
def raises(split):
    raise KeyError(split)
def none(split):
    return None
"""
MINE = """
from hardprompt import Config, optimizer
def undecorated(problem, config):
    return [[1]]
@optimizer("pez", config=Config)
def twin(problem, config):
    return [[1]]
"""
FILMS = """
from hardprompt.data.datasets import ColumnLayout, DataTask
words = {"0": "bad", "1": "good"}
films = DataTask(name="films", template="{input} {prompt}", layouts=(ColumnLayout("{text}"),), label_words=words)
"""
YAML = """\
template: "{input} {prompt}:"
data: data.csv
label_words: {positive: good, negative: bad}
"""
CSV = "input,answer\n" + "".join(f"the soup was {n},{label}\n" for n in range(9) for label in ("positive", "negative"))
LINE = '{"input": "a film", "answer": "good", "split": "%s"}\n'
FEW = {
    **{
        f"few/1-{seed}/{part}.tsv": f"sentence\tlabel\na {part}\t1\nb {part}\t0\n" for seed in "37" for part in ("train", "dev")
    },
    "few/test.tsv": "sentence\tlabel\nc\t0\nd\t1\n",
}

# Requests with nothing wrong; a row gives an option again, and the last one counts.

TINY = "--lm tiny --device cpu"
MOOD = f"--task mood.jsonl --template '{{input}} {{prompt}} :' --label-words positive=good,negative=bad {TINY}"
GOOD = f"compare {MOOD} --reference-prompt 'good or bad' --optimizers empty,manual --seeds 0 --lm-tokens 300 --out record"
LINES = f"compare --template '{{input}} {{prompt}}' --optimizers empty {TINY} --task"
WORDS = f"compare --task tasks.py:task --optimizers empty {TINY}"
SST2 = f"compare --task sst2 --splits 3 --optimizers empty {TINY} --data"
EVALUATE = f"evaluate --task tasks.py:task {TINY}"

OF_STUDY = StudyRequest.make(
    task="mood.jsonl",
    template="{input} {prompt} :",
    label_words={"positive": "good", "negative": "bad"},
    reference_prompts=("good or bad",),
    optimizers=("empty", "manual", "soft"),
    options={"soft": {"steps": 2}},
    seeds=(3,),
    lm_tokens=300,
    prompt_length=3,
    lm="tiny",
    device="cpu",
)
STUDY = f"{GOOD} --optimizers empty,manual,soft -o soft.steps=2 --seeds 3 --prompt-length 3"
"""The request of the study that is there, in Python and as a command."""

# What a copy of `tiny` or `study` has changed: name -> (of which, file, its new content; None where it is not there)

Change = bytes | Callable[[bytes], bytes] | None


def swap(old: str, new: str) -> Callable[[bytes], bytes]:
    """A change of one text."""

    def swapped(content: bytes) -> bytes:
        assert old.encode() in content
        return content.replace(old.encode(), new.encode())

    return swapped


COPIES: dict[str, tuple[str, str, Change]] = {
    "no-weights": ("tiny", "model.safetensors", None),
    "cut-weights": ("tiny", "model.safetensors", lambda content: content[:3000]),
    "lfs-weights": ("tiny", "model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
    "few-weights": ("tiny", "config.json", swap('"n_layer": 2', '"n_layer": 3')),
    "other-weights": ("tiny", "config.json", swap('"n_embd": 16', '"n_embd": 32')),
    "no-config": ("tiny", "config.json", None),
    "bad-config": ("tiny", "config.json", b"{"),
    "odd-config": ("tiny", "config.json", swap('"n_layer": 2', '"n_layer": "two"')),
    "t5": ("tiny", "config.json", swap('"model_type": "gpt2"', '"model_type": "t5"')),
    "own-code": ("tiny", "config.json", swap('"model_type": "gpt2"', '"model_type": "x", "auto_map": {"AutoConfig": "a.B"}')),
    "no-tokenizer": ("tiny", "tokenizer.json", None),
    "bad-tokenizer": ("tiny", "tokenizer.json", b"{}"),
    "broken": ("study", "study.yaml", b"request: {"),
    "tabs": ("study", "study.yaml", b"request:\n\ttask: x\n"),
    "binary": ("study", "study.yaml", b"\xff\xfe\x00"),
    "tagged": ("study", "study.yaml", b"request: !!python/object/apply:os.system ['touch ran']\n"),
    "hollow": ("study", "study.yaml", b"request: {task: plural}\n"),
    "no-words": ("study", "study.yaml", swap("vocabulary_size: ", "vocabulary_size: 0 #")),
    "priced": ("study", "study.yaml", swap("known_front: []", "known_front: [{prompt: x}]")),
    "newer": ("study", "study.yaml", swap("  task:", "  colour: red\n  task:")),
    "gone": ("study", "study.yaml", swap("task: mood.jsonl", "task: gone.jsonl")),
    "changed": ("study", "study.yaml", swap("  default: ", "  default: 0")),
    "no-points": ("study", "points.jsonl", None),
    "cut-points": ("study", "points.jsonl", lambda content: content[:-30]),
    "latin-points": ("study", "points.jsonl", lambda content: content + b"\xe9\n"),
    "nul-points": ("study", "points.jsonl", b"\0" * 60 + b"\n"),
    "list-points": ("study", "points.jsonl", b"[1]\n"),
    "deep-points": ("study", "points.jsonl", b"[" * 100_000 + b"\n"),
    "textless": ("study", "points.jsonl", swap('"prompt_text"', '"text"')),
    "worded": ("study", "points.jsonl", swap('"log_perplexity": null, "log', '"log_perplexity": "low", "log')),
    "unsure": ("study", "points.jsonl", swap('"test_correct": "', '"test_correct": "maybe')),
    "unmeant": ("study", "points.jsonl", swap('"roundtrip_ok"', '"survives"')),
    "half-done": ("study", "points.jsonl", swap('"status": "ok"', '"status": "fine"')),
    "failed": ("study", "points.jsonl", swap('"status": "ok"', '"status": "failed", "error": "E: misfortune"')),
    "lost-soft": ("study", "soft/soft,default,3,0.0.safetensors", None),
    "bad-soft": ("study", "soft/soft,default,3,0.0.safetensors", b"{}"),
    "wide-soft": ("study", "soft/soft,default,3,0.0.safetensors", save({"embeds": torch.zeros(3, 7)})),
    "short-soft": ("study", "soft/soft,default,3,0.0.safetensors", save({"embeds": torch.zeros(0, 16)})),
    "unnamed-soft": ("study", "points.jsonl", swap('"soft_prompt_file"', '"soft_file"')),
}

# The table

COMMANDS = {
    "verb": Wrong("compar", "did you mean 'compare'"),
    "verb, nothing near": Wrong("xyzzy", "no such command 'xyzzy'"),
    "option": Wrong("compare --optimisers pez", "--optimizers"),
    "option without a value": Wrong("compare --task", "--task"),
    "too many arguments": Wrong("compare plural", "plural"),
    "missing argument": Wrong("optimize", "missing argument"),
    "not UTF-8": Wrong("evaluate --text caf\udce9", r"argument 'caf\\udce9' is not UTF-8"),
    "listing": Wrong("ls task", "no list of 'task'; did you mean 'tasks'"),
    "options of a task": Wrong("ls tasks plural", "only optimizers have options to list; leave out 'plural'"),
    "preset": Wrong(f"{GOOD} --preset quik", "no preset 'quik'; did you mean 'quick'"),
    "number that is none": Wrong(f"{GOOD} --prompt-length five", "'--prompt-length': .*valid integer"),
    "prompt length zero": Wrong(f"{GOOD} --prompt-length 0", "--prompt-length: expected a number greater than 0; got 0"),
    "prompt length beyond memory": Wrong(
        f"{GOOD} --prompt-length 1000000000000", "--prompt-length: expected a number of at most 100000; got"
    ),
    "prompt longer than the context": Wrong(f"{GOOD} --prompt-length 60", "context of tiny is 64"),
    "budget zero": Wrong(f"{GOOD} --lm-tokens 0", "--lm-tokens: .*greater than 0"),
    "weight no number": Wrong(f"{GOOD} --weights 0,heavy", "--weights: '0,heavy' is not a comma-separated list of numbers"),
    "weight nan": Wrong(f"{GOOD} --weights nan", "--weights: .*finite"),
    "weight infinite": Wrong("optimize pez --weight 1e400", "--weight: .*finite"),
    "weight negative": Wrong(f"{GOOD} --weights 0.1,-0.1", "weights: .*at least 0"),
    "weights twice": Wrong(f"{GOOD} --weights 0.1,0.10", "--weights: give at least one value, and each value once"),
    "weights, nothing between commas": Wrong(f"{GOOD} --weights 0,,1", "--weights: '0,,1' has nothing before or after a comma"),
    "seeds, nothing but a comma": Wrong(f"{GOOD} --seeds ,", "--seeds: ',' has nothing before or after a comma"),
    "seeds, nothing": Wrong(f"{GOOD} --seeds ''", "--seeds: no value is given; give at least one, or leave the option out"),
    "seeds, a blank": Wrong(f"{GOOD} --seeds ' '", "--seeds: no value is given"),
    "seeds, a range": Wrong(
        f"{GOOD} --seeds 1-3", "--seeds: '1-3' is not .*integers, such as 0,1; write out each number of a range"
    ),
    "optimizers, nothing": Wrong(f"{GOOD} --optimizers ''", "--optimizers: no value is given"),
    "seeds twice": Wrong(f"{GOOD} --seeds 0,1,0", "--seeds: give at least one value, and each value once"),
    "seed not whole": Wrong(f"{GOOD} --seeds 0.5", "--seeds: '0.5' is not a comma-separated list of integers"),
    "seed negative": Wrong("optimize pez --seed -1", "--seed: expected a number of at least 0; got -1"),
    "seed too large": Wrong(f"{GOOD} --seeds 4294967296", "seeds: .*less than 4294967296"),
    "vocabulary": Wrong(f"{GOOD} --vocabulary word", "no vocabulary 'word'; did you mean 'words'"),
    "vocabulary of several tokens": Wrong(
        f"{GOOD} --vocabulary v.txt", r"v\.txt:2: 'cathedral' is \d tok", {"v.txt": "cat\ncathedral\n"}
    ),
    "vocabulary of a language without blanks": Wrong(
        f"{GOOD} --vocabulary v.txt", r"v\.txt:1: '好' is \d tokens of tiny, expected one", {"v.txt": "好\n"}
    ),
    "vocabulary empty": Wrong(f"{GOOD} --vocabulary v.txt", "no token of tiny is in the vocabulary", {"v.txt": "\n\n"}),
    "vocabulary not UTF-8": Wrong(f"{GOOD} --vocabulary v.txt", r"v\.txt:2: byte 0xe9 is not UTF-8", {"v.txt": b"cat\n\xe9\n"}),
    "device": Wrong(f"{GOOD} --device gpu", "no device 'gpu'; use cpu, cuda or mps"),
    "device not supported": Wrong(f"{GOOD} --device meta", "device 'meta' is not supported; use cpu, cuda or mps"),
    "device not there": Wrong(f"{GOOD} --device cuda:99", "no device 'cuda:99' here"),
}

OPTIMIZERS = {
    "name": Wrong(f"{GOOD} --optimizers pezz", "no optimizer 'pezz'; did you mean 'pez'"),
    "twice": Wrong(f"{GOOD} --optimizers pez,pez", "--optimizers: give at least one value, and each value once"),
    "two of one name": Wrong(f"{GOOD} --optimizers pez,mine.py:twin", "two of the optimizers have the name 'pez'"),
    "file not there": Wrong("optimize none.py:mine", r"there is no file none\.py; expected path\.py:name"),
    "file without a name": Wrong(f"{GOOD} --optimizers mine.py", r"no optimizer 'mine\.py'.*\(or path\.py:name\)"),
    "not in the file": Wrong(f"{GOOD} --optimizers mine.py:yours", r"mine\.py does not define 'yours'"),
    "file raises": Wrong(f"{GOOD} --optimizers x.py:mine", r"x\.py fails: ZeroDivisionError", {"x.py": "1 / 0"}),
    "that is none": Wrong(f"{GOOD} --optimizers mine.py:undecorated", "is not an optimizer; decorate"),
    "option's form": Wrong(f"{GOOD} -o steps=3", "'steps=3' is not of the form"),
    "option without a sign": Wrong(f"{GOOD} -o pez.steps", "'pez.steps' is not of the form"),
    "option unknown": Wrong("optimize pez -o pez.step=3", "no pez option 'step'; did you mean 'steps'"),
    "option where there are none": Wrong(f"{GOOD} -o empty.steps=3", r"no empty option 'steps'\. Available: none"),
    "option of an absent one": Wrong(f"{GOOD} -o soft.steps=3", "given for 'soft', but the request has the optimizers empty, "),
    "option no number": Wrong("optimize pez -o pez.steps=many", "option pez.steps: .*got 'many'"),
    "option out of range": Wrong("optimize pez -o pez.steps=0", "option pez.steps: .*greater than 0"),
    "option not finite": Wrong("optimize pez -o pez.learning_rate=nan", "option pez.learning_rate: .*finite"),
    "option no choice": Wrong("optimize pez -o pez.projection=manhattan", "option pez.projection: .*'cosine'"),
    "init text without text": Wrong("optimize pez -o pez.init=text", "needs an init_text"),
    "gap reward without labels": Wrong(
        f"optimize rl --task tasks.py:task {TINY} -o rl.reward=gap",
        "the reward 'gap' needs label words, and task words has none",
    ),
    "manual without reference prompts": Wrong(f"{WORDS} --optimizers manual", "has no reference prompts"),
}

MODELS = {
    "name": Wrong(f"{GOOD} --lm microwrld", "no model 'microwrld'; did you mean 'microworld'"),
    "empty name": Wrong(f"{GOOD} --lm ''", "--lm: give a name, or leave it out"),
    "folder not there": Wrong(f"{GOOD} --lm ./none", r"no model folder \./none; give an existing folder"),
    "hub that cannot be reached": Wrong(
        f"{GOOD} --lm someone/model", "hub has no such model or cannot be reached: give a local"
    ),
    "reader": Wrong("evaluate --text x --reader ./none", r"no model folder \./none"),
    "reader without a name": Wrong("evaluate --text x --reader ''", "--reader: give a name, or leave it out"),
    "without weights": Wrong(f"{GOOD} --lm no-weights", r"no-weights has no weights: put model\.safetensors"),
    "weights cut off": Wrong(
        f"{GOOD} --lm cut-weights", r"cannot load the model in cut-weights: model\.safetensors is cut off"
    ),
    "weights not fetched": Wrong("inspect --text x --lm lfs-weights", "cannot load the model in lfs-weights"),
    "too few weights": Wrong(f"{GOOD} --lm few-weights", r"weights of few-weights do not fit .* transformer\.h\.2.*is missing"),
    "weights of another shape": Wrong("inspect --text x --lm other-weights", r"other-weights do not fit its config\.json"),
    "without configuration": Wrong(f"{GOOD} --lm no-config", r"it has no config\.json"),
    "broken configuration": Wrong(f"{GOOD} --lm bad-config", "cannot load the model in bad-config"),
    "configuration of wrong types": Wrong("inspect --text x --lm odd-config", "cannot load .*'n_layer' expected int, got str"),
    "of another kind": Wrong("inspect --text x --lm t5", "cannot load the model in t5"),
    "with code of its own": Wrong("inspect --text x --lm own-code", "cannot load .*custom code"),
    "without tokenizer": Wrong("validate own --lm no-tokenizer", "cannot load the model in no-tokenizer"),
    "broken tokenizer": Wrong("inspect --text x --lm bad-tokenizer", "cannot load the model in bad-tokenizer"),
}

TASKS_ASKED = {
    "name": Wrong("compare --task plurel", "no task 'plurel'; did you mean 'plural'"),
    "name, nothing near": Wrong("evaluate --text x --task xyzzy", "no task 'xyzzy'. Available: "),
    "empty name": Wrong("compare --task ''", "task: give a name, or leave it out"),
    "file not there": Wrong(f"{LINES} none.jsonl", r"none\.jsonl: cannot be read \(no such file"),
    "line break in a name": Wrong(f"{LINES} 'two\nlines.jsonl'", r"two lines\.jsonl: cannot be read"),
    "folder for a file": Wrong(f"{LINES} x.jsonl", r"x\.jsonl: cannot be read \(is a directory", {"x.jsonl/y": ""}),
    "python file not there": Wrong("optimize pez --task none.py:task", r"no file none\.py"),
    "not in the python file": Wrong("compare --task tasks.py:tusk", r"tasks\.py does not define 'tusk'"),
    "python file raises": Wrong("compare --task x.py", r"x\.py fails: ZeroDivisionError", {"x.py": "1 / 0"}),
    "python file exits": Wrong("compare --task x.py:task", "x.py fails: SystemExit", {"x.py": "raise SystemExit(0)"}),
    "python file that is none": Wrong("compare --task x.py:task", "x.py fails: SyntaxError", {"x.py": "task = ("}),
    "python file without a task": Wrong(f"{WORDS} --task mine.py", "should define one task, but defines none"),
    "python file with several": Wrong(
        "compare --task x.py",
        r"defines several \(task, other\); choose one with x\.py:name",
        {"x.py": TASKS + "other = Task(**vars(task))"},
    ),
    "that is none": Wrong("compare --task tasks.py:number", "is not a task but int"),
    "function that raises": Wrong("compare --task tasks.py:raises", "cannot make a task of split 'default': KeyError"),
    "function of nothing": Wrong("compare --task tasks.py:none", "is not a task but NoneType"),
    "folder without a task": Wrong(f"{WORDS} --task tiny", r"tiny is not a task: it has no task\.yaml; .*new-task"),
    "folder not there": Wrong(f"{WORDS} --task ./nowhere", "no task nowhere; give a folder"),
    "split": Wrong(f"{WORDS} --splits default,other", "no split 'other'"),
    "split of a built-in one": Wrong("optimize pez --split other", "no split 'other'; it has 'default'"),
    "split of a file": Wrong(f"{GOOD} --splits 13,21", "has one data split"),
    "data of a built-in one": Wrong("evaluate --text x --data few", "data and shots belong to tasks on real data"),
    "shots of a built-in one": Wrong("compare --shots 4", "data and shots belong to tasks on real data"),
    "data of a file": Wrong(f"{GOOD} --data few", r"mood\.jsonl holds its own examples"),
    "template of a built-in one": Wrong("compare --template '{input} {prompt}'", r"belong to a \.jsonl task"),
    "reference prompt of a built-in one": Wrong("compare --reference-prompt x", r"belong to a \.jsonl task"),
    "label words of a built-in one": Wrong("evaluate --text x --label-words a=b,c=d", r"belong to a \.jsonl task"),
    "match of a python file": Wrong(f"{WORDS} --match starts-with", r"belong to a \.jsonl task"),
    "match beside label words": Wrong(f"{GOOD} --match starts-with", "'starts-with' is for generation, .* leave it out"),
    "match": Wrong(f"{LINES} mood.jsonl --match exactly", "match 'exactly' is none of exact, starts-with"),
    "file without a template": Wrong("compare --task mood.jsonl", "--template"),
    "template without prompt": Wrong(f"{GOOD} --template '{{input}} is'", r"\{prompt\} 0 times; put it in exactly once"),
    "template without input": Wrong(f"{GOOD} --template '{{prompt}} is'", r"\{input\} 0 times; put it in exactly once"),
    "template as Jinja writes it": Wrong(
        f"{GOOD} --template '{{{{input}}}} {{{{prompt}}}}'",
        r"\{\{input\}\}; write \{input\}, with single braces",
    ),
    "template with blanks in braces": Wrong(f"{GOOD} --template '{{ input }} {{prompt}}'", r"has \{ input \}; write \{input\}"),
    "template in capitals": Wrong(f"{GOOD} --template '{{Input}} {{prompt}}'", r"has \{Input\}; write \{input\}"),
    "template with a column": Wrong(
        f"{GOOD} --template '{{sentence}} {{prompt}}'", r"\{input\} 0 times; .* in the place of \{sentence\}"
    ),
    "template with prompt twice": Wrong(f"{GOOD} --template '{{prompt}}{{input}}{{prompt}}'", r"\{prompt\} 2 times"),
    "reference prompt empty": Wrong(f"{GOOD} --reference-prompt ' '", "a reference prompt is empty"),
    "label word of several tokens": Wrong(f"{GOOD} --label-words positive=good,negative=dreadful", "'dreadful' is . tokens"),
    "label words of one token": Wrong(f"{GOOD} --label-words positive=good,negative=good", "are the same token"),
    "label word with a blank": Wrong(
        f"{GOOD} --label-words 'positive=good,negative= bad'",
        "label word ' bad' .*the separator supplies the blank: write 'bad'",
    ),
    "label word with the tokenizer's mark": Wrong(
        f"{GOOD} --label-words positive=good,negative=Ġbad",
        "'Ġbad' is . tokens .*the separator supplies the blank: write 'bad'",
    ),
    "label words not given": Wrong(f"{GOOD} --label-words ''", "--label-words: no value is given"),
    "unusable rows of a built-in one": Wrong("compare --skip-unusable", "unusable rows can be left out of data files, and"),
    "nothing but unusable rows": Wrong(
        f"{SST2} x.csv --skip-unusable",
        r"x\.csv has no example with an answer|x\.csv \(1 unusable rows were left out; the first is x\.csv:2: text is empty\)",
        {"x.csv": "text,label\n ,1\n"},
    ),
    "quote never closed, unusable rows left out": Wrong(
        f"{SST2} x.csv --skip-unusable",
        r"x\.csv:3: not a valid csv row \(unexpected end",
        {"x.csv": 'text,label\na,0\n"b,1\nc,0\n'},
    ),
    "label word that is one": Wrong(
        f"{LINES} x.jsonl --label-words good=good", "a single label word", {"x.jsonl": LINE % "train"}
    ),
    "label twice": Wrong(f"{GOOD} --label-words a=good,b=bad,b=no", "names a label twice"),
    "label words of another form": Wrong(f"{GOOD} --label-words good,bad", "not a list of pairs such as 0=terrible,1=great"),
    "label words of real data": Wrong(
        f"{SST2} few --label-words 0=bad,1=good", "one label word for each of negative, positive", FEW
    ),
    "template of real data": Wrong(f"{SST2} few --template '{{input}}'", r"template '\{input\}' has \{prompt\} 0 times", FEW),
    "match of real data": Wrong(f"{SST2} few --match number", r"belong to a \.jsonl task", FEW),
    "real data not given": Wrong("compare --task present-past", "needs its data: give --data PATH, a folder with"),
    "real data that cannot be fetched": Wrong("compare --task sst2", "task sst2 needs its data: give --data PATH"),
    "real data not there": Wrong(f"{SST2} none", "no file or folder none; give --data"),
    "real data of no format": Wrong(f"{SST2} x.txt", r"x\.txt has no known file extension", {"x.txt": "x"}),
    "folder without real data": Wrong(f"{SST2} tiny", r"tiny has no data; expected files such as train\.tsv"),
    "real data of another task": Wrong(f"{SST2} mood.jsonl --task sst5", "has no example of very negative"),
    "shots zero": Wrong(f"{SST2} few --shots 0", "shots: .*greater than 0"),
    "shots more than there are": Wrong(
        f"{SST2} few --shots 9", "9 shots need 18 examples of 'negative' .* but there are 2", FEW
    ),
    "split that is not published": Wrong(f"{SST2} few --splits 5", "no split '5'; choose with --splits from: 1-3, 1-7", FEW),
    "split that is no seed": Wrong(f"{SST2} few --splits x --shots 1", "the name must end in a number, the seed", FEW),
}

START = f"{LINES} x.jsonl"
TASK_FILES = {
    "no JSON": Wrong(START, r"x\.jsonl:2: not JSON", {"x.jsonl": LINE % "train" + "{'input': 1}\n"}),
    "no object": Wrong(START, r"x\.jsonl:2: missing input, answer, split", {"x.jsonl": LINE % "train" + "[1, 2]\n"}),
    "fields missing": Wrong(START, r"x\.jsonl:1: missing answer, split", {"x.jsonl": '{"input": "a film"}\n'}),
    "input no text": Wrong(
        START, r"x\.jsonl:1: expected a text as input", {"x.jsonl": (LINE % "dev").replace('"a film"', "7")}
    ),
    "input empty": Wrong(START, r"x\.jsonl:1: input is empty", {"x.jsonl": (LINE % "dev").replace("a film", " ")}),
    "target empty": Wrong(
        START, r"x\.jsonl:2: the target text is empty", {"x.jsonl": LINE % "dev" + (LINE % "dev").replace("good", " ")}
    ),
    "split unknown": Wrong(
        START, r"x\.jsonl:2: split 'dve' is none of train, dev, test", {"x.jsonl": LINE % "train" + LINE % "dve"}
    ),
    "answer in other letters": Wrong(
        f"{START} --label-words good=good,bad=bad",
        r"x\.jsonl:1: label 'go\u043ed' is none of good, bad; it differs from 'good' in U\+043E",
        {"x.jsonl": (LINE % "dev").replace("good", "go\u043ed")},
    ),
    "yaml, a word that YAML reads as true": Wrong(
        f"{WORDS} --task own",
        r"own/task\.yaml:3: yes is not a text in YAML but a bool; put it in quotes: 'yes'",
        {"own/task.yaml": YAML.replace("{positive: good, negative: bad}", "{yes: good, no: bad}"), "own/data.csv": CSV},
    ),
    "yaml, a fraction": Wrong(
        f"{WORDS} --task own",
        r"own/task\.yaml:3: 1\.0 is not a text in YAML but a float; put it in quotes: '1\.0'",
        {"own/task.yaml": YAML.replace("{positive: good, negative: bad}", "{1.0: good, 0.0: bad}"), "own/data.csv": CSV},
    ),
    "yaml, labels in two forms": Wrong(
        f"{WORDS} --task own",
        r"own/task\.yaml:3: .*differ only in .* composed and decomposed form",
        {
            "own/task.yaml": YAML.replace("{positive: good, negative: bad}", "{caf\xe9: good, cafe\u0301: bad}"),
            "own/data.csv": CSV,
        },
    ),
    "yaml, what to do with unusable rows": Wrong(
        f"{WORDS} --task own",
        r"own/task\.yaml:4: unusable: expected 'refuse' or 'skip'; got 'ignore'",
        {"own/task.yaml": YAML + "unusable: ignore\n", "own/data.csv": CSV},
    ),
    "yaml, data in a spreadsheet": Wrong(
        f"{WORDS} --task own",
        r"own/task\.yaml:2: data\.xlsx is a spreadsheet; save the sheet as \.csv",
        {"own/task.yaml": YAML.replace("data.csv", "data.xlsx"), "own/data.xlsx": b"PK"},
    ),
    "yaml, a template as Jinja writes it": Wrong(
        f"{WORDS} --task own",
        r"own/task\.yaml:1: .*has \{\{input\}\}; write \{input\}, with single braces",
        {"own/task.yaml": YAML.replace("{input} {prompt}", "{{input}} {{prompt}}"), "own/data.csv": CSV},
    ),
    "split without example": Wrong(START, "the test split is empty", {"x.jsonl": LINE % "train" + LINE % "dev"}),
    "empty": Wrong(START, "the train split is empty", {"x.jsonl": ""}),
    "label unknown": Wrong(f"{GOOD} --label-words 1=good,0=bad", r"mood\.jsonl:1: label 'positive' is none of 1, 0"),
    "input longer than the context": Wrong(
        START,
        "context of tiny is 64; shorten the input",
        {"x.jsonl": LINE % "train" + LINE % "dev" + (LINE % "test").replace("a film", "the cat sat on a mat " * 30)},
    ),
    "yaml, unknown field": Wrong(
        f"{WORDS} --task own",
        r"own/task\.yaml:1: no field 'templat'; did you mean 'template'",
        {"own/task.yaml": "templat: x\n"},
    ),
    "yaml, tab": Wrong(
        f"{WORDS} --task own", r"own/task\.yaml:2: not valid YAML", {"own/task.yaml": "template: x\n\tdata: y\n"}
    ),
    "yaml, tag": Wrong(
        f"{WORDS} --task own/task.yaml",
        r"own/task\.yaml:1: .*tags are not allowed",
        {"own/task.yaml": "a: !!python/object/apply:os.system ['touch ran']\n"},
    ),
    "yaml, anchors": Wrong(
        f"{WORDS} --task own", r"own/task\.yaml:1: &a: .*anchors and aliases", {"own/task.yaml": "a: &a [x, x]\nb: [*a, *a]\n"}
    ),
    "yaml, UTF-16": Wrong(f"{WORDS} --task own", "byte 0xff is not UTF-8", {"own/task.yaml": YAML.encode("utf-16")}),
    "yaml, data with a wrong row": Wrong(
        f"{WORDS} --task own",
        r"own/data\.csv:20: answer 'neutral' is none of",
        {"own/task.yaml": YAML, "own/data.csv": CSV + "x,neutral\n"},
    ),
}

A = '{"text": "a", "label": 1}'
DATA: dict[str, tuple[str, str | bytes, str]] = {
    "tsv, not UTF-8": ("x.tsv", b"text\tlabel\na\t0\n\xff\t1\n", r"x\.tsv:3: byte 0xff is not UTF-8"),
    "tsv, ends within a sign": ("x.tsv", b"text\tlabel\na\t0\ncut \xc3\n", r"x\.tsv:3: byte 0xc3 is not UTF-8"),
    "tsv, UTF-16, an unknown label": ("x.tsv", "text\tlabel\na\t7\n".encode("utf-16"), r"x\.tsv:2: label '7' is none of 0, 1"),
    "tsv, UTF-16, cut off": (
        "x.tsv",
        "text\tlabel\n".encode("utf-16")[:-1],
        "x.tsv: not valid UTF-16 .*save the file as UTF-8",
    ),
    "csv, UTF-16 of the other order": (
        "x.CSV",
        b"\xfe\xff" + "text,label\n\n,1\n".encode("utf-16-be"),
        "x.CSV:3: text is empty",
    ),
    "csv, UTF-16 without a mark": ("x.csv", "text,label\n".encode("utf-16-be"), r"x\.csv:1: a NUL byte, .*byte-order mark"),
    "csv, Latin-1": ("x.csv", "text,label\ncaf\xe9,1\n".encode("latin-1"), r"x\.csv:2: byte 0xe9 is not UTF-8; save the file"),
    "csv, semicolons": (
        "x.csv",
        "text;label\na;1\n",
        r"x\.csv:1: fields are separated by semicolons, expected commas; save it",
    ),
    "csv, tabs": ("x.csv", "text\tlabel\na\t1\n", r"x\.csv:1: .*by tabs, expected commas; .*rename it to \.tsv"),
    "tsv, commas": ("x.tsv", "text,label\na,1\n", r"x\.tsv:1: .*by commas, expected tabs; .*rename it to \.csv"),
    "tsv, vertical bars": ("x.TSV", "text|label\na|1\n", r"x\.TSV:1: .*by vertical bars, expected tabs; save it with tabs"),
    "csv, a column in other letters": ("x.csv", "Text,Label\na,1\n", r"x\.csv:2: columns Text, Label, but .*text, label"),
    "csv, a header twice": ("x.csv", "text,label,text\na,1,b\n", r"x\.csv:1: two columns have the same name"),
    "csv, header twice but for blanks": ("x.csv", "text,label, text\na,1,b\n", "two columns have the same name"),
    "csv, the header repeated": ("x.csv", "text,label\na,1\ntext,label\n", r"x\.csv:3: label 'label' is none of 0, 1"),
    "csv, a comma too many": ("x.csv", "text,label\na,1,\n", r"x\.csv:2: 3 fields, expected 2 \(text, label\)"),
    "csv, a comma in the text": ("x.csv", "text,label\nwell, good,1\n", r"x\.csv:2: 3 fields, expected 2"),
    "csv, empty": ("x.csv", "", r"x\.csv:1: the file is empty; expected a header and rows"),
    "csv, a byte-order mark alone": ("x.csv", b"\xef\xbb\xbf", r"x\.csv:1: the file is empty"),
    "csv, a fraction as label": ("x.csv", "text,label\na,0.5\n", r"x\.csv:2: label '0\.5' is none of 0, 1"),
    "csv, no label": ("x.csv", "text,label\na,nan\n", r"x\.csv:2: label 'nan' is none of 0, 1"),
    "csv, a label in other letters": (
        "x.csv",
        "text,label\na,p\u043esitive\n",
        r"x\.csv:2: label .* differs from 'positive' in U\+043E CYRILLIC SMALL LETTER O, expected U\+006F",
    ),
    "csv, a sign of no width": ("x.csv", "text,label\na,positive\u200b\n", r"x\.csv:2: .*in U\+200B ZERO WIDTH SPACE"),
    "csv, a text of no width": ("x.csv", "text,label\n\u3000\xa0,1\n", r"x\.csv:2: text is empty"),
    "csv, split unknown": ("x.csv", "text,label,split\na,1,training\n", r"x\.csv:2: split 'training' is none of train, dev"),
    "csv that is a spreadsheet": ("x.csv", b"PK\x03\x04\x14\0", r"x\.csv: the file is a zip archive or a spreadsheet.*\.csv"),
    "csv that is compressed": ("x.csv", b"\x1f\x8b\x08\0", r"x\.csv: the file is compressed with gzip; unpack it first"),
    "csv that is parquet": ("x.csv", b"PAR1\x15\x04", r"x\.csv: the file is in the parquet format; rename it to \.parquet"),
    "csv that is a PDF": ("x.csv", b"%PDF-1.7\n", r"x\.csv: the file is a PDF, not text; save the data as \.csv"),
    "jsonl that was not fetched": (
        "x.jsonl",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        r"x\.jsonl: the file is a pointer of Git LFS, .*`git lfs pull`",
    ),
    "xlsx": ("x.xlsx", b"PK\x03\x04", r"x\.xlsx is a spreadsheet; save the sheet as \.csv; expected one of \.tsv, \.csv"),
    "csv.gz": ("x.csv.gz", b"\x1f\x8b", r"x\.csv\.gz is compressed; unpack it first"),
    "zip": ("x.zip", b"PK\x03\x04", r"x\.zip is compressed; unpack it first"),
    "ndjson": ("x.ndjson", "", r"x\.ndjson is one JSON object per line; rename it to \.jsonl"),
    "pickle": ("x.pkl", b"\x80\x04", r"x\.pkl is of another format; save the table as \.parquet or \.csv"),
    "no extension": ("x", "text\tlabel\n", r"x has no known file extension; expected one of \.tsv"),
    "parquet that is none": ("x.parquet", b"PAR1 and more, but no table", r"x\.parquet: not a valid parquet file \(.*\); save"),
    "parquet, empty": ("x.parquet", b"", r"x\.parquet: not a valid parquet file"),
    "jsonl, a list": ("x.jsonl", f"[{A},\n{A}]\n", r"x\.jsonl:1: a list; expected one object per line; .*a \.json file"),
    "jsonl, number for a text": ("x.JSONL", A.replace('"a"', "1.0"), r"x\.JSONL:1: text is not a text but 1\.0"),
    "jsonl, not a number": ("x.jsonl", '{"text": "a", "label": NaN}', r"x\.jsonl:1: label is not a text but nan"),
    "json, lines of which one is wrong": ("x.json", f"{A}\n{A[:-1]}\n", r"x\.json:2: not JSON .*expected one object per line"),
    "json, lines of which one is empty of text": ("x.json", A + '\n{"text": " ", "label": 1}\n', r"x\.json:2: text is empty"),
    "json, objects by name": ("x.json", f'{{"data": [{A}]}}', r"x\.json:1: expected a list of objects"),
    "tsv, UTF-16 without a mark": (
        "x.tsv",
        "text\tlabel\n".encode("utf-16-le"),
        r"x\.tsv:1: a NUL byte, .*needs a byte-order mark.* save the file as UTF-8",
    ),
    "tsv, empty": ("x.tsv", "", r"x\.tsv:1: the file is empty"),
    "tsv, ragged": ("x.tsv", "text\tlabel\na\t0\na\tb\t0\n", r"x\.tsv:3: 3 fields, expected 2 .*use csv"),
    "tsv, ragged after empty lines": ("x.tsv", "\n\ntext\tlabel\na\n", r"x\.tsv:4: 1 fields, expected 2"),
    "tsv, columns of one name": ("x.tsv", "text\ttext\na\tb\n", r"x\.tsv:1: two columns have the same name"),
    "tsv, line break in a field": ("x.tsv", 'text\tlabel\n"two\nlines"\t0\n', r"x\.tsv:2: 1 fields, expected 2"),
    "tsv, old Mac line ends": ("x.tsv", "text\tlabel\ra\t0\rb\t1\r", r"x\.tsv:1: a carriage return within the line; end lines"),
    "tsv, blanks": ("x.tsv", "text\tlabel\n \n", r"x\.tsv:2: 1 fields, expected 2"),
    "tsv, header alone": ("x.tsv", "sentence\tlabel\n", "has no example with an answer"),
    "tsv, other columns": (
        "x.tsv",
        "title\tlabel\na\t1\n",
        r"x\.tsv:2: columns title, label, but task sst2 reads sentence, label or",
    ),
    "tsv, text empty": ("x.tsv", "text\tlabel\n \t1\n", r"x\.tsv:2: text is empty"),
    "tsv, label empty": ("x.tsv", "text\tlabel\na\t\n", r"x\.tsv:2: label '' is none of 0, 1, negative, positive"),
    "tsv, label unknown": ("x.tsv", "text\tlabel\na\t4\n", r"x\.tsv:2: label '4' is none of 0, 1, negative"),
    "tsv, one label alone": ("x.tsv", "text\tlabel\na\t1\n", "has no example of negative; give the task's own data"),
    "csv, blanks": ("x.csv", "text,label\n  \n", r"x\.csv:2: 1 fields, expected 2"),
    "csv, not UTF-8 after a field of two lines": (
        "x.csv",
        b'text,label\n"a\nb",0\n\xe9,1\n',
        r"x\.csv:4: byte 0xe9 is not UTF-8",
    ),
    "csv, ragged after a field of two lines": ("x.csv", 'text,label\n"a\nb",0\nc,1,2\n', r"x\.csv:4: 3 fields, expected 2"),
    "csv, quote never closed": (
        "x.csv",
        'text,label\na,0\n"never,1\nb,0\n',
        r"x\.csv:3: not a valid csv row \(unexpected end",
    ),
    "csv, text after a quote": ("x.csv", 'text,label\n"a" b,0\n', r"x\.csv:2: not a valid csv row \(',' expected after"),
    "csv, old Mac line ends": ("x.csv", "text,label\ra,0\r", r"x\.csv:1: not a valid csv row .*; end lines with LF or CRLF"),
    "csv, a field too large": (
        "x.csv",
        "text,label\n" + "a" * 200_000 + ",0\n",
        r"x\.csv:2: not a valid csv row \(field larger",
    ),
    "csv, NUL bytes": ("x.csv", b"text,label\na,0\n\0\0\0,1\n", r"x\.csv:3: a NUL byte"),
    "jsonl, cut off": ("x.jsonl", A + '\n{"text": \n', r"x\.jsonl:2: not JSON"),
    "jsonl, not UTF-8": ("x.jsonl", A.encode() + b'\n\n{"text": "\xe9"}\n', r"x\.jsonl:3: byte 0xe9 is not UTF-8"),
    "jsonl, NUL bytes at the end": ("x.jsonl", A.encode() + b"\n" + b"\0" * 512, r"x\.jsonl:2: a NUL byte"),
    "jsonl, a tab in a text": ("x.jsonl", '{"text": "a\tb"}\n', r"x\.jsonl:1: not JSON \(Invalid control"),
    "jsonl, half of a sign": ("x.jsonl", '{"text": "\\ud83d"}\n', r"x\.jsonl:1: half of a surrogate pair \(\\ud83d\)"),
    "jsonl, too deep": ("x.jsonl", '{"text": ' + "[" * 100_000 + "\n", r"x\.jsonl:1: JSON that cannot be read"),
    "jsonl, too long a number": ("x.jsonl", '{"text": ' + "9" * 5_000 + "}\n", r"x\.jsonl:1: JSON that cannot be read"),
    "jsonl, no object": ("x.jsonl", '"text"\n', r"x\.jsonl:1: expected an object"),
    "jsonl, field missing": ("x.jsonl", A + '\n{"label": 1}\n', r"x\.jsonl:2: missing text"),
    "jsonl, no text": ("x.jsonl", '{"text": 7, "label": 1}', r"x\.jsonl:1: text is not a text but 7"),
    "jsonl, label of wrong type": ("x.jsonl", '{"text": "a", "label": 1.5}', r"x\.jsonl:1: label is not a text but 1\.5"),
    "jsonl, split missing": ("x.jsonl", A[:-1] + ', "split": "dev"}\n' + A, r"x\.jsonl:2: split '' is none of train, dev, v"),
    "jsonl, split of wrong type": ("x.jsonl", A[:-1] + ', "split": [1]}', r"x\.jsonl:1: split '\[1\]' is none of train"),
    "json, cut off": ("x.json", f"[{A},\n\n{{}}, {{]", r"x\.json:3: not JSON"),
    "json, an entry no object": ("x.json", f"[{A},\n\n 7]", r"x\.json:3: expected an object"),
    "json, no list": ("x.json", A, r"x\.json:1: expected a list of objects"),
    "json, not UTF-8": ("x.json", b'[{"text": "a"},\n{"text": "\xff"}]', r"x\.json:2: byte 0xff is not UTF-8"),
    "json, empty": ("x.json", "", r"x\.json:1: not JSON"),
    "json, label null": ("x.json", '[{"text": "a",\n "label": null}]', r"x\.json:1: label is not a text but None"),
}
"""By name: the file, its contents, and the error for it as the data of a task."""

FOLDERS: dict[str, tuple[dict[str, str | bytes], str]] = {
    "two files of a part": ({"d/dev.tsv": "", "d/validation.csv": ""}, r"contains both dev\.tsv and validation\.csv; keep one"),
    "two splits of a name": (
        {"d/4-3/train.tsv": "", "d/16-3/train.tsv": ""},
        "has several splits that end in '3'; choose .*: 16-3, 4-3",
    ),
    "split without dev": (
        {"d/16-3/train.tsv": "text\tlabel\na\t1\nb\t0\n"},
        "split '3': the published split has no dev and no test",
    ),
}
"""By name: the files in a folder, and the error for it."""

STUDIES = {
    "of another request": Wrong(f"{GOOD} --seeds 4 --out study", "holds another study .*seeds.*; choose another --out"),
    "of other data": Wrong(f"{STUDY} --out changed", "the task data have changed since changed was created; choose another"),
    "of other things": Wrong(f"{GOOD} --out tiny", "is not empty and holds no study; choose another --out"),
    "that is a file": Wrong(f"{GOOD} --out mood.jsonl", "is not empty and holds no study; choose another --out"),
    "below a file": Wrong(f"{GOOD} --out mood.jsonl/below", "cannot create the folder .*; choose another --out"),
    "broken": Wrong(f"{GOOD} --out broken", r"broken/study\.yaml cannot be read"),
    "with a broken line": Wrong(f"{STUDY} --out list-points", r"list-points/points\.jsonl:1: not a result of a study"),
    "report of none": Wrong("report tiny", r"tiny holds no study: it has no study\.yaml"),
    "report of a folder not there": Wrong("report none", r"none holds no study"),
    "report of tabs": Wrong("report tabs", r"tabs/study\.yaml cannot be read: .*line 2"),
    "report of binary": Wrong("report binary", r"binary/study\.yaml cannot be read"),
    "report of a tag": Wrong("report tagged", r"tagged/study\.yaml cannot be read: .*python/object"),
    "report of half a study": Wrong(
        "report hollow", r"hollow/study\.yaml does not describe a study .the field 'vocabulary_size' is missing"
    ),
    "report of a value out of range": Wrong("report no-words", r"\(vocabulary_size: expected a number of at least 2"),
    "report of a front without values": Wrong("report priced", "the field 'known_front.0.test_accuracy' is missing"),
    "report of a newer study": Wrong("report newer", "study.yaml: no field 'colour'.*another version"),
    "report of no run": Wrong("report no-points", "no-points holds no finished run yet"),
    "report of a line cut off": Wrong("report cut-points", r"cut-points/points\.jsonl:3: not JSON .*repair or remove the line"),
    "report of a line not UTF-8": Wrong("report latin-points", r"latin-points/points\.jsonl:\d+: not UTF-8"),
    "report of NUL bytes": Wrong("report nul-points", r"nul-points/points\.jsonl:1: not JSON"),
    "report of depth": Wrong("report deep-points", r"deep-points/points\.jsonl:1: not JSON"),
    "report of a line without its text": Wrong(
        "report textless", r"points\.jsonl:1: not a result of a study.*the field 'prompt_text' is missing"
    ),
    "report of a verdict that is none": Wrong(
        "report unsure", r"points\.jsonl:1: not a result of a study.*\(test_correct: .*match"
    ),
    "report without a round trip": Wrong("report unmeant", r"points\.jsonl:1: .*the field 'roundtrip_ok' is missing"),
    "report of a text for a number": Wrong("report worded", r"points\.jsonl:1: .*\(log_perplexity: expected a number"),
    "report of an unknown status": Wrong("report half-done", r"points\.jsonl:1: not a result of a study.*'fine'"),
}

PROMPTS = {
    "none": Wrong("evaluate", "one of --text, --ids, --run and --soft; got none of them"),
    "text and ids": Wrong("inspect --text x --ids 5", "got --text and --ids"),
    "empty text and run": Wrong("evaluate --text '' --run study", "got --text and --run"),
    "ids not whole": Wrong("evaluate --ids 5,x", "--ids: '5,x' is not a comma-separated list of integers"),
    "no ids": Wrong("evaluate --ids ''", "--ids names no token; the empty prompt is --text ''"),
    "memory without a unit": Wrong(f"{GOOD} --memory 4", "memory: give a size of at least 256MB, such as 512MB or 4GB"),
    "memory too small": Wrong(f"{GOOD} --memory 1MB", "memory: give a size of at least 256MB"),
    "dtype": Wrong(f"{GOOD} --dtype float16", "no dtype 'float16'; did you mean 'bfloat16'"),
    "id too large": Wrong(f"{EVALUATE} --ids 5,4000", "token id 4000 is not in the vocabulary of tiny; use 0 to "),
    "id negative": Wrong(f"inspect {TINY} --ids=-1", "token id -1 is not in the vocabulary of tiny"),
    "ids beyond the context": Wrong(f"{EVALUATE} --ids {','.join(['40'] * 62)}", "context of tiny is 64; shorten"),
    "text beyond the context": Wrong(f"inspect {TINY} --text '{'good ' * 80}'", "but tiny has room for 63; shorten it"),
    "number of no run": Wrong("evaluate --text x --number 1", "--number selects a run of a study; give its folder with --run"),
    "seed of no run": Wrong("inspect --ids 5 --seed 1", "--seed selects a run of a study"),
    "number and seed": Wrong("evaluate --run study --number 1 --seed 3", "with --number or with --seed, not with both"),
    "run of no study": Wrong("evaluate --run tiny", r"tiny holds no study: it has no study\.yaml"),
    "run not there": Wrong("inspect --run study --number 4", "has no run 4; there are 3, numbered from 1"),
    "run zero": Wrong("evaluate --run study --number 0", "has no run 0; there are 3"),
    "which run": Wrong("evaluate --run study", "3 runs of study fit; select one with --number 1, 2, 3"),
    "run of an optimizer": Wrong("evaluate --run study --optimizer manuel", "did you mean 'manual'"),
    "run of a seed": Wrong("evaluate --run study --seed 4", "has no finished run with seed 4"),
    "run that failed": Wrong("evaluate --run failed --number 1", "run 1 of failed failed and found no prompt: E: misfortune"),
    "run on other data": Wrong(
        "evaluate --run changed --number 1", r"the data of task mood have changed since changed .* give --task mood\.jsonl"
    ),
    "run on other data, the split named": Wrong(
        "evaluate --run changed --number 1 --split default", "have changed since changed"
    ),
    "run on data that are gone": Wrong("evaluate --run gone --number 1", r"gone\.jsonl: cannot be read"),
    "vectors lost": Wrong("evaluate --run lost-soft --number 3", r"cannot read the soft prompt lost-soft/soft/.*no such file"),
    "vectors broken": Wrong("inspect --run bad-soft --number 3", "cannot read the soft prompt bad-soft"),
    "vectors of another model": Wrong("inspect --run wide-soft --number 3", r"of shape \(3, 7\) does not fit tiny, .* 16 wide"),
    "vectors of no token": Wrong("evaluate --run short-soft --number 3", r"of shape \(0, 16\) does not fit tiny"),
    "text and a soft prompt": Wrong("evaluate --text x --soft x.npy", "got --text and --soft"),
    "soft prompt not there": Wrong(f"{EVALUATE} --soft none.npy", r"none\.npy cannot be read"),
    "soft prompt of another width": Wrong(
        "inspect --soft study/soft/soft,default,3,0.0.safetensors", r"of shape \(3, 16\) does not fit microworld, .* 160 wide"
    ),
    "several soft prompts": Wrong(
        f"{EVALUATE} --soft x.safetensors",
        r"x\.safetensors holds 2 soft prompts \(a, b\); give a file with one",
        {"x.safetensors": save({"a": torch.zeros(2, 16), "b": torch.zeros(2, 16)})},
    ),
    "report of no geometry": Wrong(
        "report places", r"places/geometry\.yaml does not describe a geometry study", {"places/geometry.yaml": "request: 7"}
    ),
    "vectors not named": Wrong(
        "inspect --run unnamed-soft --number 3", "does not hold the vectors of this soft prompt; use its proj"
    ),
}

RECIPE = "tasks: [mood.jsonl]\nmodels: [tiny]\n"
RECIPES = {
    "none": Wrong("run", r"name a recipe, .*such as runs/quick\.yaml"),
    "not there": Wrong("run none.yaml", r"none\.yaml: cannot be read"),
    "no YAML": Wrong("run x.yaml", r"x\.yaml:2: not valid YAML", {"x.yaml": "tasks: [a\n"}),
    "not UTF-8": Wrong("run x.yaml", r"x\.yaml:2: byte 0xff is not UTF-8", {"x.yaml": b"a: b\n\xff"}),
    "field": Wrong("run x.yaml", r"x\.yaml:3: no field 'sedes'; did you mean 'seeds'", {"x.yaml": RECIPE + "sedes: [1]\n"}),
    "value": Wrong("run x.yaml", r"x\.yaml:3: seeds\.0: expected .*got 'a'", {"x.yaml": RECIPE + "seeds: [a]\n"}),
    "no task": Wrong("run x.yaml", "no task is given; name at least one", {"x.yaml": "seeds: [1]\n"}),
    "task": Wrong("run x.yaml", r"x\.yaml:1: no task 'plurel'; did you mean 'plural'", {"x.yaml": "tasks: [plurel]\n"}),
    "task's own field": Wrong("run x.yaml --jobs 1", r"x\.yaml:1: task file mood\.jsonl needs a template", {"x.yaml": RECIPE}),
    "model": Wrong("run x.yaml --jobs 1", r"x\.yaml:2: no model folder \./no", {"x.yaml": "tasks: [plural]\nmodels: [./no]\n"}),
    "override's form": Wrong("run x.yaml -o seeds", "-o 'seeds' is not of the form a.b=c", {"x.yaml": RECIPE}),
    "override's name": Wrong("run x.yaml -o seed=1", "no recipe field 'seed'; did you mean 'seeds'", {"x.yaml": RECIPE}),
    "override's value": Wrong("run x.yaml -o seeds=a", r"-o seeds=a: seeds\.0: expected .*got 'a'", {"x.yaml": RECIPE}),
    "jobs": Wrong("run x.yaml --jobs 0", "--jobs.*greater than or equal to 1", {"x.yaml": RECIPE}),
    "timeout": Wrong("run x.yaml --timeout 0", "time limit must be more than 0 seconds, got 0", {"x.yaml": RECIPE}),
    "timeout no number": Wrong("run x.yaml --timeout nan", "time limit must be more than 0 seconds", {"x.yaml": RECIPE}),
    "folder that is a file": Wrong(
        "run x.yaml --jobs 1 --out mood.jsonl",
        "cannot create the folder mood.jsonl",
        {"x.yaml": "tasks: ['tasks.py:task']\nmodels: [tiny]\noptimizers: [empty]\n"},
    ),
}

OWN = {
    "new, there already": Wrong("new-task tiny", "tiny already exists and is not changed"),
    "new, no folder's name": Wrong("new-task a/b", "'a/b' is not the name of a folder"),
    "new, the folder itself": Wrong("new-task ..", r"'\.\.' is not the name of a folder"),
    "new, a name of the catalogue": Wrong("new-task plural", "a task with the name plural is installed; choose another name"),
    "new, below a file": Wrong("new-task mood --out mood.jsonl", "cannot create the folder mood.jsonl/mood: .*another --out"),
    "validate nothing": Wrong("validate ./nowhere", "no task nowhere; give a folder"),
    "validate a data file": Wrong("validate mood.jsonl", r"mood\.jsonl is not a task; expected a folder"),
    "validate a file that raises": Wrong("validate x.py", r"x\.py fails: NameError", {"x.py": "task = Task()"}),
    "validate a task without data": Wrong(
        "validate x.py", r"x\.py is a task whose data are given with --data; check a folder", {"x.py": FILMS}
    ),
    "validate, model": Wrong("validate own --lm microwrld", "did you mean 'microworld'"),
}

PLACES = f"geometry --task tasks.py:task {TINY} --word film --out record"

GEOMETRY = {
    "task": Wrong(f"{PLACES} --task plurel", "no task 'plurel'; did you mean 'plural'"),
    "task twice": Wrong(f"{PLACES} --task tasks.py:task", "tasks: every name must be given once"),
    "two tasks of one name": Wrong(
        f"{PLACES} --task own2.py", "two of the tasks have the same name: words, words", {"own2.py": TASKS}
    ),
    "words of several tokens": Wrong(
        f"{PLACES} --word cathedral --word zebra",
        r"one token of tiny, but 'cathedral' is \d, 'zebra' is \d; choose other words",
    ),
    "word twice": Wrong(f"{PLACES} --word film", "words: every name must be given once"),
    "word without letters": Wrong(f"{PLACES} --word ' '", "words: every name must be given once, and must not be blank"),
    "published words": Wrong(
        "geometry --task tasks.py:task --lm tiny --device cpu", "must be one token of tiny, but 'bird' is"
    ),
    "tokens zero": Wrong(f"{PLACES} --tokens 0", "tokens: .*greater than 0"),
    "tokens beyond the context": Wrong(f"{PLACES} --tokens 60", "context of tiny is 64"),
    "epochs zero": Wrong(f"{PLACES} --epochs 0", "epochs: .*greater than 0"),
    "batch zero": Wrong(f"{PLACES} --batch-size 0", "batch_size: .*greater than 0"),
    "learning rate negative": Wrong(f"{PLACES} --learning-rate -1", "learning_rate: .*greater than 0"),
    "weight decay not finite": Wrong(f"{PLACES} --weight-decay nan", "weight_decay: .*finite"),
    "seed negative": Wrong(f"{PLACES} --seed -1", "seed: expected a number of at least 0; got -1"),
    "memory": Wrong(f"{PLACES} --memory 4", "memory: give a size of at least 256MB"),
    "data that no task takes": Wrong(
        f"{PLACES} --data few", "data and shots are for tasks on real data; none of tasks.py:task"
    ),
    "data not given": Wrong("geometry --task present-past --word cat", "needs its data: give --data PATH"),
    "another study": Wrong(f"{PLACES} --out study", "study is not empty and holds no geometry study; choose another --out"),
    "added, not there": Wrong(f"{PLACES} --add none.npy", r"none\.npy cannot be read"),
    "added, no adapter": Wrong(f"{PLACES} --add tiny", r"tiny is not a PEFT adapter: it has no adapter_config\.json"),
    "added, another width": Wrong(
        "geometry --task plural --word cat --add study/soft/soft,default,3,0.0.safetensors",
        r"of shape \(3, 16\) does not fit microworld, whose embeddings are 160 wide",
    ),
}

EXPORT = {
    "form": Wrong("export study --to pefd", "no form of export 'pefd'; did you mean 'peft'"),
    "no form": Wrong("export study", "--to"),
    "no study": Wrong("export tiny --to text", r"tiny holds no study: it has no study\.yaml"),
    "which run": Wrong("export study --to text", "3 runs of study fit; select one with --number 1, 2, 3"),
    "run that failed": Wrong("export failed --to text --number 1", "failed and found no prompt: E: misfortune"),
    "folder not empty": Wrong(
        "export study --to json --number 2 --out tiny", "tiny already exists and is not empty; choose another"
    ),
    "prompt behind the input": Wrong("export study --to peft --number 3 --out x", "is after the input .* use --to text or"),
    "vectors lost": Wrong("export lost-soft --to peft --number 3 --out x", "cannot read the soft prompt lost-soft/soft/"),
    "other data": Wrong("export changed --to text --number 1 --out x", "the data of task mood have changed since changed"),
}

WRONG: dict[str, Wrong] = {
    f"{group}: {name}": row
    for group, rows in (
        ("command", COMMANDS),
        ("optimizer", OPTIMIZERS),
        ("model", MODELS),
        ("task", TASKS_ASKED),
        ("task file", TASK_FILES),
        ("data", {name: Wrong(f"{SST2} {file}", says, {file: content}) for name, (file, content, says) in DATA.items()}),
        ("data folder", {name: Wrong(f"{SST2} d", says, files) for name, (files, says) in FOLDERS.items()}),
        ("study", STUDIES),
        ("prompt", PROMPTS),
        ("own task", OWN),
        ("geometry", GEOMETRY),
        ("export", EXPORT),
        ("recipe", RECIPES),
    )
    for name, row in rows.items()
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, a task, a study of both, and damaged copies of them."""
    folder = tmp_path_factory.mktemp("given")
    save_tiny(folder / "tiny")
    write_jsonl(tiny_task(), folder / "mood.jsonl")
    (folder / "tasks.py").write_text(TASKS, encoding="utf-8")
    (folder / "mine.py").write_text(MINE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("hardprompt.report.plot.draw_tradeoff", lambda points, found, weights, file: file.touch())
        compare(OF_STUDY, "study")
    for name, (source, file, change) in COPIES.items():
        shutil.copytree(folder / source, folder / name)
        content = (folder / name / file).read_bytes()
        (folder / name / file).unlink()
        if change is not None:
            (folder / name / file).write_bytes(change(content) if callable(change) else change)
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_are_refused_in_one_line(name: str, given: Path, here: Path, ask: Ask) -> None:
    """The status is 2, stderr has one line, stdout is empty, and no file is created or changed."""
    row = WRONG[name]
    lay_out(here, given, row.files)
    before = contents(here)
    check(row, *ask(shlex.split(row.command)))
    assert contents(here) == before


@pytest.mark.parametrize(
    "name",
    [
        "command: not UTF-8",
        pytest.param("task: name", marks=pytest.mark.slow),
        pytest.param("study: of another request", marks=pytest.mark.slow),
    ],
)
def test_the_console_script_refuses_in_one_line(name: str, given: Path, tmp_path: Path) -> None:
    """The installed script itself."""
    row = WRONG[name]
    lay_out(tmp_path, given, row.files)
    before = contents(tmp_path)
    quiet = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([SCRIPT, *shlex.split(row.command)], cwd=tmp_path, env=quiet, capture_output=True, text=True)
    check(row, done.returncode, done.stdout, done.stderr)
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("no_plot")
def test_the_unchanged_requests_and_files_are_valid(given: Path, here: Path, ask: Ask) -> None:
    """The requests and files that each row changes in one place are valid themselves."""
    lay_out(here, given, FEW | {"own/task.yaml": YAML, "own/data.csv": CSV})
    words = "--label-words negative=bad,positive=good"
    for fine in (f"{SST2} few {words} --out a", f"{WORDS} --task own --out b", f"{WORDS} --out c", f"{STUDY} --out study"):
        status, _, err = ask(shlex.split(fine))
        assert (status, err) == (0, ""), fine
    for fine in ("evaluate --run study --number 3", "inspect --run study --number 1"):
        assert ask(shlex.split(fine))[0] == 0, fine
    status, out, _ = ask(shlex.split("evaluate --run changed --task mood.jsonl --number 2 --json"))
    assert status == 0 and json.loads(out)["task"] == "mood", "data named by the request itself are measured as they are"


def test_validate_has_a_line_for_each_error(given: Path, here: Path, ask: Ask) -> None:
    """`validate` reports all errors at once on stdout, with status 2; test_custom_task.py has more tests."""
    wrong = YAML.replace("template", "templat")
    lay_out(here, given, {"own/task.yaml": wrong, "own/data.csv": CSV + "x,neutral\n,positive\n"})
    status, out, err = ask(["validate", "own"])
    errors = [line for line in out.splitlines() if line.startswith("error: ")]
    assert (status, err, len(errors)) == (2, "", 4), out
    status, out, err = ask(["validate", "own", "--json"])
    assert (status, err, json.loads(out)["errors"]) == (2, "", 4)
