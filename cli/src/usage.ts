export const usage = `countersign: token signing that stays safe when a signing key is stolen

  up      --data DIR --port N --ready-file FILE      start everything on this machine (--port 0: free ports)
  verify  [--ready FILE | --manifest URL [--trust-anchor FILE]] --audience AUD (TOKEN | -)
                                                     decide about a token; exit 0 accepted, 1 refused, 2 undecided
  key     list   --ready FILE                        the keys of the manifest and who has not acknowledged it
          rotate --ready FILE --realm REALM          activate the next key, retire the current one
          block  --ready FILE --kid KID --reason …   no validator accepts it from now on; two people can lift it
          revoke --ready FILE --kid KID --reason …   the same, for good
          retire --ready FILE --kid KID --reason …   stop verifying what it signed
  cutoff         --ready FILE [--realm R] [--kid K] [--tenant T] [--sub S] --reason …
                                                     refuse what was issued before now
  log     fsck   --url URL --vkey VKEY               prove a whole log; exit 1 when it does not hold

  Commands that change something take --operator ID; without it, the first operator of the ready file signs.
  They print when every validator has acknowledged, and who has not.
`
