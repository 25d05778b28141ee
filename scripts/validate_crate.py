"""Judges a Workflow Run RO-Crate by the tools that its authors publish, without a network.

Usage: validate_crate.py FOLDER, with a Python that has roc-validator and runcrate (scripts/crate_tools.txt). Prints what is required and not
met, then what runcrate reads from it; ends with 1 if anything is not met.

The validator would fetch the JSON-LD contexts that a crate names. Here they come from the package rocrate, whose terms are those of
RO-Crate 1.3; the few that had other addresses in 1.1 are set back.
"""

import json
import pathlib
import subprocess
import sys

import rdflib.plugins.shared.jsonld.context as jsonld_context
import rdflib.plugins.shared.jsonld.util as jsonld_util
import rocrate
from rocrate_validator import models, services
from rocrate_validator.utils import http

CRATE = "https://w3id.org/ro/crate/1.1/context"
RUN = "https://w3id.org/ro/terms/workflow-run/context"
RUN_TERMS = ["sha1", "sha256", "md5", "ContainerImage", "ParameterConnection", "connection", "sourceParameter", "targetParameter"]


def contexts():
    """The documents behind the two addresses."""
    data = pathlib.Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld"
    crate = json.loads(data.read_text())
    workflow = "https://bioschemas.org/ComputationalWorkflow"
    crate["@context"].update(
        {
            "ComputationalWorkflow": workflow,
            "FormalParameter": "https://bioschemas.org/FormalParameter",
            "input": workflow + "#input",
            "output": workflow + "#output",
        }
    )
    run = {"@context": {term: "https://w3id.org/ro/terms/workflow-run#" + term for term in RUN_TERMS}}
    return {CRATE: crate, RUN: run}


class Answer:
    """What a server would answer."""

    def __init__(self, document):
        self.status_code = 200
        self.headers = {"Content-Type": "application/ld+json"}
        self.document = document
        self.text = json.dumps(document)
        self.content = self.text.encode()

    def json(self):
        return self.document


def stay_here(documents):
    """Answers what the validator asks the network for."""
    fetch, read = http.HttpRequester.__getattr__, jsonld_util.source_to_json

    def source_to_json(source, *arguments, **options):
        document = documents.get(str(source))
        return (document, None) if document else read(source, *arguments, **options)

    def get(self, name):
        if name != "get":
            return fetch(self, name)
        return lambda url, **options: Answer(documents[url]) if url in documents else fetch(self, name)(url, **options)

    jsonld_util.source_to_json = jsonld_context.source_to_json = source_to_json
    http.HttpRequester.__getattr__ = get


def main(folder):
    stay_here(contexts())
    settings = services.ValidationSettings(
        rocrate_uri=folder,
        profile_identifier="provenance-run-crate",
        requirement_severity=models.Severity.REQUIRED,
    )
    result = services.validate(settings)
    for issue in result.get_issues():
        print(f"{issue.check.identifier}: {issue.message}")
    report = subprocess.run([str(pathlib.Path(sys.executable).parent / "runcrate"), "report", folder], check=False, capture_output=True, text=True)
    print(report.stdout, report.stderr, sep="", end="")
    return 0 if result.passed() and report.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
