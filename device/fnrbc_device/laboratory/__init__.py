"""What the laboratory's own system gets: a signed result as FHIR and HL7, and the folder where it is handed over."""
