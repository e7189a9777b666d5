"""Every example of the document named on the command line is one of its schema, formats and all."""

import json
import sys

import jsonschema_rs


def places(value, path):
    if isinstance(value, dict):
        if "schema" in value and ("example" in value or "examples" in value):
            named = {"example": value["example"]} if "example" in value else {}
            named |= {name: example["value"] for name, example in value.get("examples", {}).items()}
            for name, example in named.items():
                yield f"{path}/{name}", value["schema"], example
        for name, member in value.items():
            yield from places(member, f"{path}/{name}")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from places(member, f"{path}/{index}")


with open(sys.argv[1]) as file:
    document = json.load(file)

count = 0
for path, schema, example in places(document, ""):
    # References lead into the document's components.
    whole = {**schema, "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    for error in validator.iter_errors(example):
        sys.exit(f"{path}: {error.message}: {json.dumps(example)}")
    count += 1
assert count > 100, f"only {count} examples were found"
