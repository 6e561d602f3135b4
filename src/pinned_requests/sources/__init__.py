"""What fills a `PolicyStore` and keeps it fresh: `loaders`, the `refresher`, and signed remote policies in `tuf/`.

Code that gets a policy from a file, a callable or a repository belongs here. The policy in force does not (that is
`policy_store`), and neither does any decision on a connection.
"""
