#!/usr/bin/env python3
"""Makes rules/rules.schema.json of src/rules/keys.def, for editors that complete and check YAML.

    tools/schema.py            writes it
    tools/schema.py --check    fails where it is not what it should be
"""

import json
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
PATH = os.path.join(ROOT, "rules/rules.schema.json")

NUMBER = r"(0|[1-9][0-9]*)(\.[0-9]+)?"
NOT_ZERO = r"(?!0(\.0+)?[a-z%/])"
UNIT = r"(ns|us|ms|s|m|h|d)"
ERRORS = ["ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ECONNRESET", "EHOSTDOWN", "ENETDOWN", "EACCES", "EPERM"]
ADDRESS = r"([0-9]{1,3}\.){3}[0-9]{1,3}|\[?[0-9a-fA-F:]*:[0-9a-fA-F:.]*\]?"


def one_or_list(item, most=None):
    items = {"type": "array", "minItems": 1, "items": item}
    if most:
        items["maxItems"] = most
    return {"anyOf": [item, items]}


def duration(may_be_zero, may_be_off):
    pattern = f"^{'' if may_be_zero else NOT_ZERO}{NUMBER}{UNIT}$"
    if may_be_off:
        pattern = pattern[:-1].replace("^", "^(off|", 1) + ")$"
    text = {"type": "string", "pattern": pattern}
    return {"anyOf": [text, {"enum": [0, "0"]}]} if may_be_zero else text


def number(text, name):
    """A figure or bound of keys.def, which is C."""
    names = {"S": 10**9, "MS": 10**6, "PPM_ONE": 10**6}
    if not re.fullmatch(r"[0-9A-Z_ *]+", text) or re.search(r"RETRY|JITTER|SCOPE|ADDRESSES|^E[A-Z]|UINT", text):
        return None
    return eval(text, {"__builtins__": {}}, names)


def value_of(name, kind, least, most):
    """What a value of that kind looks like. Upper bounds of durations cannot be said in JSON Schema."""
    if kind == "DURATION":
        return duration(name in ("retry.base_delay", "limit.wait"), least == 0)
    if kind == "COUNT":
        least_written = 1 if name == "limit.connections" else least
        whole = {"type": "integer", "minimum": least_written, "maximum": most}
        return {"anyOf": [whole, {"const": "off"}]} if least == 0 else whole
    if kind == "RATIO":
        return {"type": "string", "pattern": f"^{NOT_ZERO if least else ''}(100|[1-9]?[0-9](\\.[0-9]{{1,4}})?)%$"}
    if kind == "FACTOR":
        return {"type": "number", "minimum": least // 10**6, "maximum": most // 10**6}
    if kind == "RATE":
        return {"type": "string", "pattern": f"^(off|{NOT_ZERO if name == 'limit.rate' else ''}(0|[1-9][0-9]*)/[smh])$"}
    return {
        "RETRY_ON": one_or_list({"enum": ["refused", "timeout", "unreachable", "reset", "resolve"]}),
        "JITTER": {"enum": ["full", "equal", "decorrelated", "none"]},
        "ADDRESSES": {"enum": ["siblings", "same"]},
        "SCOPE": {"enum": ["connect", "exchange"]},
        "ERROR": {"enum": ERRORS},
        "PREFIXES": one_or_list({"type": "string", "pattern": "^[\\u0000-\\u00ff]{1,31}$"}, 8),
    }[kind]


def figure_text(kind, figure):
    if figure is None or kind in ("RETRY_ON", "PREFIXES"):
        return None
    if kind == "DURATION":
        return "off" if figure == 0 else f"{figure // 10**9}s" if figure % 10**9 == 0 else f"{figure // 10**6}ms"
    if kind == "RATIO":
        return f"{figure / 10**4:g}%"
    if kind == "RATE":
        return f"{figure}/s" if figure else "off"
    if kind == "FACTOR":
        return figure / 10**6
    return figure or "off"


def sections():
    """{section: {key: schema}}"""
    with open(os.path.join(ROOT, "src/rules/keys.def"), encoding="utf-8") as file:
        rows = re.findall(r'^KEY\(([\w.]+), *(\w+), *(\w+), *[\w.]+, *([^,]+), *([^,]+), *([^,]+),\s*"([^"]*)"\)', file.read(), re.M)
    found = {}
    for section, key, kind, least, most, figure, text in rows:
        schema = {"description": text[0].upper() + text[1:] + "."}
        schema.update(value_of(f"{section}.{key}", kind, number(least, key), number(most, key)))
        usual = figure_text(kind, number(figure, key))
        if usual is not None:
            schema["default"] = usual
        found.setdefault(section, {})[key] = schema
    return found


def section(text, properties, **more):
    return {"description": text, "anyOf": [
        {"type": ["object", "null"], "properties": properties, "additionalProperties": False, **more}, {"const": "off"}]}


def match():
    shell = one_or_list({"type": "string", "minLength": 1})
    label = "[A-Za-z0-9_-]{1,63}"
    host = rf"^(\*|(\*\.)?({label}\.)*(?![0-9]+\.?$){label}\.?|(?!.*\.)[0-9]{{1,63}}|{ADDRESS})$"
    port = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    return {
        "description": "Which targets and programs the rule is for: host or address, and port, and program. {} is every TCP target.",
        "type": "object", "additionalProperties": False,
        "properties": {
            "host": {"description": "Names that the program looks up: payments.internal, *.example.com, * or an address.",
                     **one_or_list({"type": "string", "pattern": host})},
            "address": {"description": "Where it connects to: 10.1.0.0/16, fd00::/8 or one address.",
                        **one_or_list({"type": "string", "pattern": f"^({ADDRESS})(/[0-9]{{1,3}})?$"})},
            "port": {"description": "443 or 8000-8100.", **one_or_list({"anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string", "pattern": f"^{port}(-{port})?$"}]})},
            "program": {"description": "Shell patterns for the file name of the program.",
                        **one_or_list({"type": "string", "pattern": "^[^/]+$"})},
            "unix": {"description": "Shell patterns for the path of a UNIX socket; an abstract one begins with @.", **shell},
            "protocol": {"description": "What the rule is for; tcp unless it says otherwise.", "default": "tcp",
                         **one_or_list({"enum": ["tcp", "udp"]})},
        },
        "dependencies": {"unix": {"not": {"anyOf": [{"required": [key]} for key in ("host", "address", "port", "protocol")]}}},
    }


def degrade():
    """The rungs of a ladder."""
    label = "[A-Za-z0-9_-]{1,63}"
    port = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    name = rf"(?=[^:]*[A-Za-z_-])({label}\.)*{label}\.?"
    host = rf"^(({name}|([0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}|\[[0-9a-fA-F:]*:[0-9a-fA-F:.]*\])(:{port})?|[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*)$"
    text = {"type": "string", "minLength": 1}

    def rung(name, schema, **more):
        return {"type": "object", "additionalProperties": False, "required": [name], "properties": {name: schema, **more}}

    return {
        "description": "What a program gets when a call was rejected or has failed for good, tried in order; the error is the last.",
        "anyOf": [{"const": "off"}, {"type": "array", "minItems": 1, "maxItems": 8, "items": {"anyOf": [
            rung("host", {"description": "Fallback hosts; without a port: the one that was asked for.",
                          **one_or_list({"type": "string", "pattern": host}, 8)},
                 present={"description": "What getpeername tells.", "enum": ["asked", "real"], "default": "asked"},
                 stick={"description": "New connections stay there at least for so long.", **duration(False, False)}),
            rung("stale", {"description": "The last good answer of a lookup.", "type": ["object", "null"],
                           "additionalProperties": False, "properties": {
                               "max_age": {"description": "No older one is served.", "default": "24h", **duration(False, False)},
                               "after": {"description": "A lookup that takes longer gets it.", "default": "1.8s",
                                         **duration(False, False)}}}),
            rung("respond", {"description": "Bytes that are said instead of a connection.", "type": "object",
                             "additionalProperties": False,
                             "oneOf": [{"required": ["text"]}, {"required": ["file"]}],
                             "properties": {
                                 "text": {"description": "The bytes.", **text},
                                 "file": {"description": "The bytes are in this file, beside the rule file.", **text},
                                 "when": {"description": "At once, or after each request.", "enum": ["connect", "request"],
                                          "default": "connect"},
                                 "delay": {"description": "Connecting seems to take so long.", **duration(False, False)}}}),
            rung("addresses", {"description": "A lookup that fails gets these.",
                               **one_or_list({"type": "string", "pattern": f"^({ADDRESS})$"}, 16)}),
        ]}}],
    }


TYPES = ["bool", "char", "short", "int", "unsigned", "long", "ulong", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
         "uint64", "size_t", "ssize_t", "float", "double", "pointer", "string"]


def functions(keys, budget, rate, enforce):
    """What `functions:` may say. Which values fit a type, which names mean an argument there is: `resil check` knows."""
    without = {"retry": ("retry_on", "addresses"), "breaker": ("scope", "error", "failure_prefix"), "limit": ("error",)}
    own = {name: {key: schema for key, schema in keys[name].items() if key not in left_out} for name, left_out in without.items()}
    symbol = {"type": "string", "pattern": r"^[A-Za-z0-9_.$]{1,127}$"}
    number = r"(-?([0-9]{1,18}|[0-9]*\.?[0-9]+([eE][+-]?[0-9]{1,3})?|\.?inf)|\.?nan)"
    value = {"anyOf": [{"type": ["null", "number"]}, {"type": "string", "pattern": f"^{number}$"}]}
    condition = {"anyOf": [value, {"type": "string", "pattern": rf"^([<>]=?|[!=]=) *(null|{number})$"},
                           {"type": "array", "minItems": 1, "maxItems": 8, "items": value}]}
    inner_argument = {"anyOf": [{"type": "null"}, {"type": "string", "pattern": r"^(result|arg *([1-9]|1[0-2]))$"}]}
    inner = {"anyOf": [inner_argument, {"type": "array", "maxItems": 6, "items": inner_argument}]}
    error = {"type": "string", "pattern": "^E[A-Z0-9]+$"}
    argument = {"type": "string", "pattern": r"^arg *([1-9]|1[0-2])$"}

    def mapping(properties, required):
        return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}

    check = mapping({"symbol": symbol, "args": inner, "returns": {"enum": TYPES, "default": "int"}, "fails_when": condition},
                    ["symbol", "args", "fails_when"])
    return {
        "type": "object", "additionalProperties": False, "required": ["name", "symbol", "returns", "args", "fails_when"],
        "properties": {
            "name": {"description": "Breakers and reports go by it; no two functions or rules have the same.", "type": "string",
                     "pattern": "^[A-Za-z0-9._-]{1,63}$"},
            "library": {"description": "A shell pattern for the soname: libpq.so.5, libcurl*.so.4. Without it any library is meant.",
                        "type": "string", "pattern": "^[^/]+$"},
            "symbol": {"description": "The function's name.", **symbol},
            "returns": {"description": "The type of what it returns.", "enum": ["void", *TYPES]},
            "args": {"description": "The types of its arguments.", "anyOf": [
                {"enum": TYPES}, {"type": "array", "maxItems": 12, "items": {"enum": TYPES}}]},
            "fails_when": {"description": "What it returns when it has failed.", "anyOf": [
                mapping({"returns": condition, "errno": one_or_list(error, 8), "check": check}, ["returns"]),
                mapping({"check": check}, ["check"])]},
            "cleanup": {"description": "Frees what a failed call returned before another one is made.",
                        **mapping({"symbol": symbol, "args": inner}, ["symbol", "args"])},
            "target": {"description": "The argument that names the host, and maybe that of the port: each host has a circuit of its own.",
                       **one_or_list(argument, 2)},
            "retry": section("Failed calls are made again.", {**own["retry"], "budget": budget}),
            "breaker": section("A function that keeps failing is left alone for a while.", {**own["breaker"], "failure_rate": rate}),
            "limit": section("How many calls one process makes at once (connections), and how often.", own["limit"]),
            "enforce": enforce,
            "faults": {"description": "Calls that are not made and fail on purpose, where faults are armed.", **mapping({
                "probability": {"type": "string", "pattern": r"^(100|[1-9]?[0-9](\.[0-9]{1,4})?)%$"},
                **{key: {"type": "integer", "minimum": 1} for key in ("nth", "every", "after", "times")},
                "returns": value, "errno": error}, ["returns"])},
            "default": {"description": "What a call returns that is not made.", **mapping({
                "returns": value, "errno": error,
                "when": {"description": "rejected: by an open circuit or a limit; failed: also for calls that failed for good.",
                         "enum": ["rejected", "failed"], "default": "rejected"}}, [])},
        },
    }


ERRNOS = ["ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ECONNRESET", "EHOSTDOWN", "ENETDOWN", "EACCES", "EPERM",
          "EADDRNOTAVAIL", "EADDRINUSE", "ENOENT", "EPIPE", "EMSGSIZE", "ECONNABORTED", "EPROTO", "EMFILE", "ENFILE", "EAFNOSUPPORT",
          "ENOBUFS", "ENOMEM"]
EAIS = ["EAI_AGAIN", "EAI_FAIL", "EAI_NONAME", "EAI_MEMORY", "EAI_NODATA"]


def fault():
    """One of `faults`. Which errors a call can have, and what can never happen, is said by `resil check`."""
    time = duration(False, False)
    share = {"type": "string", "pattern": f"^{NOT_ZERO}(100|[1-9]?[0-9](\\.[0-9]{{1,4}})?)%$"}
    any_share = {"type": "string", "pattern": r"^(100|[1-9]?[0-9](\.[0-9]{1,4})?)%$"}
    count = {"type": "integer", "minimum": 1, "maximum": 2**32 - 1}
    amount = f"(?!0(\\.0+)?[a-zA-Z])({NUMBER}[kMG]B|(0|[1-9][0-9]*)B)"
    size = {"anyOf": [count, {"type": "string", "pattern": f"^{amount}$"}]}
    rate = {"type": "string", "pattern": f"^{amount}/s$"}

    def parts(text, properties, required=(), alone=None):
        whole = {"type": ["object", "null"] if not required else "object", "additionalProperties": False,
                 "properties": properties, "required": list(required)}
        return {"description": text, **({"anyOf": [alone, whole]} if alone else whole)}

    nothing = {"type": ["object", "null"], "maxProperties": 0}
    latency = parts("It takes longer.", {
        "delay": {"description": "By so long.", **time}, "jitter": {"description": "Give or take; at most the delay.", **time},
        "distribution": {"description": "How the delays are spread.", "enum": ["uniform", "normal", "pareto"]},
        "correlation": {"description": "How often a delay is that of the time before.", **any_share}}, ["delay"], time)
    latency["anyOf"][1]["dependencies"] = {"distribution": ["jitter"], "correlation": ["jitter"]}
    reset = parts("The connection is broken off.", {
        "after_bytes": {"description": "Once so many bytes are through.", **size}, "after": {"description": "Once it is so old.", **time}})
    reset["not"] = {"type": "object", "required": ["after_bytes", "after"]}
    kinds = {
        "error": {"description": "The call fails at once.", "enum": ERRNOS + EAIS},
        "latency": latency,
        "timeout": {"description": "No answer ever comes.", **nothing},
        "reset": reset,
        "bandwidth": parts("No more than so many bytes a second, each way.", {
            "rate": {"description": "Bytes a second.", **rate}, "burst": {"description": "At once, after a pause.", **size},
            "direction": {"description": "One way only.", "enum": ["recv", "send"]}}, ["rate"], rate),
        "slice": parts("Few bytes at a time.", {
            "size": {"description": "So many.", **size}, "variation": {"description": "Give or take.", **size},
            "gap": {"description": "A pause between two.", **time}}, ["size"], size),
        "limit_data": parts("The connection ends.", {"bytes": {"description": "After so many.", **size}}, ["bytes"], size),
        "slow_close": parts("The end of the connection comes late.", {"delay": {"description": "By so long.", **time}}, ["delay"], time),
        "corrupt": parts("Bytes have a bit flipped.", {"ratio": {"description": "That share of them.", **share}}, ["ratio"], share),
        "loss": {"description": "Datagrams are lost.", "anyOf": [share, {
            "type": "object", "additionalProperties": False, "minProperties": 1, "properties": {
                "ratio": {"description": "That share of them.", **any_share},
                "burst": {"description": "Several in a row (Gilbert and Elliott).", "type": "object", "additionalProperties": False,
                          "required": ["enter", "leave"], "properties": {
                              "enter": {"description": "How likely a bad time begins with a datagram.", **share},
                              "leave": {"description": "How likely it ends.", **share},
                              "ratio": {"description": "The share that is lost meanwhile.", "default": "100%", **any_share}}}}}]},
        "duplicate": parts("Datagrams come twice.", {"ratio": {"description": "That share of them.", **share}}, ["ratio"], share),
        "reorder": parts("Datagrams come after later ones.", {
            "ratio": {"description": "That share of them.", **share},
            "depth": {"description": "So many overtake one at most.", "type": "integer", "minimum": 1, "maximum": 8, "default": 1},
            "hold": {"description": "Later ones are waited for so long; it comes then, whatever has come.", "default": "10ms", **time}},
            ["ratio"], share),
        "interrupt": {"description": "The call fails with EINTR, as by a signal.", **nothing},
        "exhaust": {"description": "No descriptor is left: EMFILE.", **nothing},
        "address": {"description": "A lookup gives that address.", "type": "string", "pattern": f"^({ADDRESS})$"},
    }
    selectors = {
        "name": {"description": "It is switched and reported by it; no two faults have the same.", "type": "string",
                 "pattern": "^[A-Za-z0-9._-]{1,63}$"},
        "match": match(),
        "on": {"description": "What it happens to; where the kind applies, unless it is said.",
               **one_or_list({"enum": ["connect", "send", "recv", "resolve", "accept", "socket"]})},
        "probability": {"description": "How often it happens.", "default": "100%", **share},
        "nth": {"description": "Only that time.", **count},
        "every": {"description": "One time in so many.", **count},
        "after": {"description": "Not the first so many times.", **count},
        "times": {"description": "So often at most, in one process.", **count},
        "per": {"description": "What is drawn for, and counted.", "enum": ["call", "exchange", "connection", "process"]},
        "caller": {"description": "Only calls by that library (a shell pattern) or exported function.",
                   **one_or_list({"type": "string", "pattern": "^[^/]+$"})},
        "schedule": {"description": "When, from when it was armed.", "type": "object", "additionalProperties": False, "properties": {
            "start": {"description": "Not before.", **time},
            "ramp": {"description": "The probability grows from nothing in that time.", **time},
            "flap": {"description": "On and off in turn.", "type": "object", "additionalProperties": False, "required": ["on", "off"],
                     "properties": {"on": time, "off": time}},
            "burst": {"description": "So long, somewhere in each such time.", "type": "object", "additionalProperties": False,
                      "required": ["length", "every"], "properties": {"length": time, "every": time}}}},
        "expires": {"description": "Not after that time.", **time},
        "seed": {"description": "Instead of the run's.", "type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    }
    return {"type": "object", "additionalProperties": False, "required": ["name", "match"], "properties": {**selectors, **kinds},
            "oneOf": [{"required": [kind]} for kind in kinds], "not": {"required": ["nth", "every"]}}


def make():
    keys = sections()
    budget = section("How many retries there may be, of all processes together.", keys["retry.budget"])
    rate = section("The share of failures that opens the circuit.", keys["breaker.failure_rate"])
    parts = {
        "timeout": section("How long things may take.", keys["timeout"]),
        "retry": section("Connects and lookups that failed are tried again.", {**keys["retry"], "budget": budget}),
        "breaker": section("A host that keeps failing is left alone for a while.", {**keys["breaker"], "failure_rate": rate}),
        "limit": section("How much one process may ask of a host; names connections or rate.", keys["limit"]),
        "enforce": {"description": "Share of the connections for which decisions are carried out; 0% only records them.",
                    "type": "string", "pattern": r"^(100|[1-9]?[0-9](\.[0-9]{1,4})?)%$", "default": "100%"},
    }
    rule = {
        "type": "object", "additionalProperties": False, "required": ["name", "match"],
        "properties": {
            "name": {"description": "Breakers and reports go by it; no two rules have the same.", "type": "string",
                     "pattern": "^[A-Za-z0-9._-]{1,63}$"},
            "match": match(), **parts, "degrade": degrade(),
            "patience": {"description": "How long the caller's user waits; `resil check` compares.", **duration(False, False)},
        },
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "libresil rules",
        "description": "Made by tools/schema.py. What it cannot say, `resil check` does: bounds of durations, rates of whole "
                       "events, bits beyond a prefix, values that contradict each other, rules of one name.",
        "type": "object", "additionalProperties": False, "required": ["version"],
        "properties": {
            "version": {"description": "Of this format.", "const": 1},
            "include": {"description": "Rule files whose rules come first; relative to this file.",
                        "anyOf": [{"type": "null"}, *one_or_list({"type": "string", "minLength": 1})["anyOf"]]},
            "defaults": {"description": "For every rule of this file that does not say otherwise.", "type": ["object", "null"],
                         "additionalProperties": False, "properties": parts},
            "rules": {"description": "The first that matches decides.", "type": ["array", "null"], "items": rule},
            "functions": {"description": "Functions of libraries that are put under retry, breaker and limit.", "type": ["array", "null"],
                          "maxItems": 64, "items": functions(keys, budget, rate, parts["enforce"])},
            "faults": {"description": "What goes wrong on purpose, where faults are armed; all that match happen.",
                       "type": ["array", "null"], "items": fault(), "maxItems": 64},
        },
    }


def main():
    text = json.dumps(make(), indent=2, ensure_ascii=True) + "\n"
    if sys.argv[1:] == ["--check"]:
        with open(PATH, encoding="utf-8") as file:
            if file.read() != text:
                sys.exit("rules/rules.schema.json does not fit src/rules/keys.def (run tools/schema.py)")
        return
    with open(PATH, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
