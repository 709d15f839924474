"""An issuer in another language: has tokens made by the broker over mutual TLS, with what Python brings and nothing else.

    python3 issue.py HOST PORT CA CERT KEY ALGORITHM < CLAIMS > TOKEN

Reads the claims of an access token; with a second line, asks for both in one batch. Prints a token, or the code of a problem,
a line each.
"""

import http.client
import json
import ssl
import sys


def ask(connection, path, body):
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def main(host, port, ca, cert, key, alg):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(cert, key)
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)
    requests = [{"type": "access", "claims": json.loads(line), "alg": alg} for line in sys.stdin]
    if len(requests) == 1:
        status, answer = ask(connection, "/v1/issue", requests[0])
        print(answer["token"] if status == 200 else answer["code"])
    else:
        _, answer = ask(connection, "/v1/issue-batch", {"requests": requests})
        for result in answer["results"]:
            print(result["token"] if "token" in result else result["error"]["code"])


main(*sys.argv[1:])
