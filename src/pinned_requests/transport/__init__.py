"""Where pins meet sockets: urllib3 and requests. One foreign API a file."""
