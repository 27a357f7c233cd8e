"""
Downloads by libcurl and authenticates by the GSS-API.  Run as a program, for libcurl brings a
Kerberos library of its own::

    python libcurl.py PROXYTYPE PROXY NEC URL

It prints the SHA-256 of what it got, or exits with libcurl's error.
"""

import hashlib
import sys

import pycurl

#: CURLAUTH_GSSAPI, which is that of Negotiate.
GSSAPI = pycurl.HTTPAUTH_GSSNEGOTIATE
#: CURL_VERSION_GSSAPI, of curl_version_info.
FEATURE = 1 << 17


def main(kind: str, proxy: str, nec: str, url: str) -> int:
    """Fetch one URL."""
    if not pycurl.version_info()[4] & FEATURE:
        sys.stderr.write("this libcurl has no GSS-API\n")
        return 2
    digest = hashlib.sha256()
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.PROXYTYPE, getattr(pycurl, f"PROXYTYPE_{kind}"))
    curl.setopt(pycurl.PROXY, proxy)
    curl.setopt(pycurl.NOPROXY, "")
    curl.setopt(pycurl.FAILONERROR, True)
    # CURLOPT_SOCKS5_AUTH, for which pycurl has no name.
    curl.setopt(267, GSSAPI)
    curl.setopt(pycurl.SOCKS5_GSSAPI_NEC, int(nec == "nec"))
    curl.setopt(pycurl.WRITEFUNCTION, digest.update)
    try:
        curl.perform()
    except pycurl.error as error:
        sys.stderr.write(f"libcurl: {error}\n")
        return int(error.args[0])
    finally:
        curl.close()
    sys.stdout.write(digest.hexdigest() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
