// Makes a container of an Azure Blob service. Arguments: URL ACCOUNT KEY CONTAINER
import { createHmac } from "node:crypto";

const [url, account, key, container] = process.argv.slice(-4);
const headers = { "x-ms-date": new Date().toUTCString(), "x-ms-version": "2021-08-06" };
// The standard headers between the method and ours are all empty.
const signed = [
  "PUT",
  ...Array(11).fill(""),
  ...Object.entries(headers).map(([name, value]) => `${name}:${value}`),
  `/${account}/${account}/${container}`,
  "restype:container",
];
const signature = createHmac("sha256", Buffer.from(key, "base64")).update(signed.join("\n")).digest("base64");
const response = await fetch(`${url}/${account}/${container}?restype=container`, {
  method: "PUT",
  headers: { ...headers, Authorization: `SharedKey ${account}:${signature}` },
});
if (response.status !== 201) {
  console.error(`the container was not made: ${response.status} ${await response.text()}`);
  process.exit(1);
}
