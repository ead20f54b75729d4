"""Takes what shippers send to Elasticsearch's `_bulk`, and writes the documents to a file, one a line.

usage: bulk.py PORT FILE
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

port, path = int(sys.argv[1]), sys.argv[2]


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
            for action, document in zip(lines[::2], lines[1::2]):
                json.loads(document)
                out.write(json.dumps({"action": json.loads(action), "document": json.loads(document)}) + "\n")
                items.append({"create": {"status": 201}})
        self.answer({"errors": False, "items": items})

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", port), Bulk).serve_forever()
