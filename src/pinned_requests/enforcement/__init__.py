"""From verdict to consequence: `Guard` refuses, reports or passes; notification tells log, audit hooks and sinks.

No socket, no requests, no urllib3 and no TLS library belong here: transport/ and tls/ bring the chain as a value.
"""
