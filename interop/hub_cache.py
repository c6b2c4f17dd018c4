"""Finds a file that toklip downloaded through Hugging Face's own library, without any network.

Needs huggingface_hub (it comes with transformers). Prints the file's path, size and SHA-256, and fails if the library
does not find it, or if its content is not what its name in the cache says.

    toklip download owner/repo/path/to/file
    python interop/hub_cache.py owner/repo/path/to/file [--cache DIR] [--revision main]
"""
import argparse
import hashlib
import os
import re
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported
from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache  # noqa: E402
from huggingface_hub.constants import HF_HUB_CACHE  # noqa: E402


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="owner/repo/path/to/file")
    parser.add_argument("--cache", default=HF_HUB_CACHE, help="the cache's folder, if it is not the default")
    parser.add_argument("--revision", default="main")
    args = parser.parse_args()

    owner, repo, filename = args.name.split("/", 2)
    asked = {"repo_id": f"{owner}/{repo}", "filename": filename, "revision": args.revision, "cache_dir": args.cache}
    path = try_to_load_from_cache(**asked)
    if not isinstance(path, str):
        sys.exit(f"huggingface_hub does not find {args.name} in {args.cache}")
    if hf_hub_download(**asked, local_files_only=True) != path:
        sys.exit("hf_hub_download finds another file")

    digest, blob = sha256(path), os.path.basename(os.path.realpath(path))
    print(f"{path}\n{os.path.getsize(path)} bytes, sha256 {digest}")
    if re.fullmatch("[0-9a-f]{64}", blob) and blob != digest:
        sys.exit(f"its blob is called {blob}")

    report = scan_cache_dir(args.cache)
    for warning in report.warnings:
        print(f"warning: {warning}")
    for found in report.repos:
        if found.repo_id == f"{owner}/{repo}":
            print(f"scan: {found.nb_files} file(s), {found.size_on_disk} bytes, refs {sorted(found.refs)}")
    sys.exit(1 if report.warnings else 0)


main()
