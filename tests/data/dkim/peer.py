"""dkimpy as a peer of the tests: one JSON object a line in, one out, until the input ends.

verify: {"do": "verify", "message": base64, "keys": {name: record}} -> {"holds": [bool, ...], "why": text}
sign:   {"do": "sign", "message": base64, "domain": d, "selector": s, "key": PEM or base64 seed, "algorithm": a,
         "canonical": "relaxed/simple", "length": bool} -> {"field": base64}
"""

import base64
import json
import sys

import dkim


def key_of(text):
    """dkimpy reads RSA keys in PKCS #1 alone: those stand at the end of PKCS #8."""
    if "BEGIN PRIVATE KEY" not in text:
        return text.encode()
    der = base64.b64decode("".join(text.split("-----")[2].split()))
    inner = base64.encodebytes(der[26:]).decode()
    return f"-----BEGIN RSA PRIVATE KEY-----\n{inner}-----END RSA PRIVATE KEY-----\n".encode()


def verify(asked):
    message = base64.b64decode(asked["message"])
    keys = {name.encode(): record.encode() for name, record in asked["keys"].items()}

    def dns(name, timeout=5):
        return keys.get(name.rstrip(b"."))

    checked = dkim.DKIM(message)
    count = sum(name.lower() == b"dkim-signature" for name, _ in checked.headers)
    holds, why = [], ""
    for place in range(count):
        try:
            holds.append(dkim.DKIM(message).verify(idx=place, dnsfunc=dns))
        except dkim.DKIMException as error:
            holds.append(False)
            why += f"{error!r} "
    return {"holds": holds, "why": why}


def sign(asked):
    header, body = asked["canonical"].encode().split(b"/")
    field = dkim.sign(
        base64.b64decode(asked["message"]),
        asked["selector"].encode(),
        asked["domain"].encode(),
        key_of(asked["key"]),
        canonicalize=(header, body),
        signature_algorithm=asked["algorithm"].encode(),
        length=asked["length"],
    )
    return {"field": base64.b64encode(field).decode()}


for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = {"verify": verify, "sign": sign}[asked["do"]](asked)
    except Exception as error:  # told to the test, which fails by it
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
