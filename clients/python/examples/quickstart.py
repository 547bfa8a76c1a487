import os
from contextlib import suppress
from pathlib import Path

import pgfox
from pgfox import v1

SENTENCES = {
    "diet": "Foxes are omnivores: predators of small animals that also eat fruit",
    "sounds": "Foxes can make over 40 different sounds",
    "hunting": "Foxes use the magnetic field of the Earth when they hunt",
    "kits": "Baby foxes are called kits",
}

SERVER = os.environ.get("PGFOX_SERVER", "127.0.0.1:50051")
API_KEY = os.environ.get("PGFOX_API_KEY")
CA = Path(os.environ["PGFOX_CA"]).read_bytes() if os.environ.get("PGFOX_CA") else None

with pgfox.connect(SERVER, api_key=API_KEY, ca=CA) as client:
    with suppress(pgfox.AlreadyExistsError):
        client.CreateCollection(v1.CreateCollectionRequest(collection={"name": "foxes"}))

    documents = (pgfox.document(id, text=text, metadata={"topic": id}) for id, text in SENTENCES.items())
    totals = pgfox.ingest(client, "foxes", documents)
    print(f"{totals.upserted} stored, {totals.unchanged} unchanged")

    for progress in client.BuildIndex(v1.BuildIndexRequest(collection="foxes")):
        print(f"index: {v1.IndexPhase.Name(progress.phase)}, {progress.fraction_done:.0%}")

    question = "I was wondering, how many sounds can foxes make?"
    found = client.Search(v1.SearchRequest(collection="foxes", text=question, limit=1))
    for result in found.results:
        print(f"Distance: {result.distance:.8f}, Content: {result.document.text}")
