// express, bare or with express-rate-limit: node server.js NAME PORT
const express = require("express");
const { rateLimit } = require("express-rate-limit");

const [name, port] = process.argv.slice(2);
const app = express();
app.disable("x-powered-by");
if (name !== "express") {
  const limit = name === "express limited refusing" ? 1 : 1e12;
  app.use(rateLimit({ windowMs: 24 * 60 * 60 * 1000, limit, standardHeaders: "draft-8", legacyHeaders: false }));
}
app.get("/", (_, response) => response.type("text/plain").send("hello"));
const server = app.listen(Number(port), "127.0.0.1", () => console.log(`127.0.0.1:${server.address().port}`));
