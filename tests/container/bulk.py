"""Takes what shippers send to Elasticsearch's `_bulk`, and writes the documents to a file, one a line.

A data stream takes only what is to be created and has a time; what has not is refused, as there, and written with the reason.

usage: bulk.py PORT FILE
"""

import json
import sys
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

port, path = int(sys.argv[1]), sys.argv[2]


def fault(action, document):
    if "create" not in action:
        return "only create is for data streams"
    if not isinstance(document.get("@timestamp"), str):
        return "no @timestamp"
    try:
        datetime.fromisoformat(document["@timestamp"])
    except ValueError:
        return "@timestamp is no time"
    return None


class Bulk(BaseHTTPRequestHandler):
    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_HEAD(self):
        self.answer({})

    def do_GET(self):
        self.answer({"version": {"number": "8.17.0"}, "status": "green"})

    def do_POST(self):
        lines = self.rfile.read(int(self.headers["content-length"])).decode().splitlines()
        items = []
        with open(path, "a", encoding="utf-8") as out:
            # An action and its document take turns.
            for action, document in zip(map(json.loads, lines[::2]), map(json.loads, lines[1::2])):
                reason = fault(action, document)
                out.write(json.dumps({"action": action, "document": document, "fault": reason}) + "\n")
                items.append({"create": {"status": 400, "error": {"reason": reason}} if reason else {"status": 201}})
        self.answer({"errors": any(it["create"]["status"] != 201 for it in items), "items": items})

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", port), Bulk).serve_forever()
