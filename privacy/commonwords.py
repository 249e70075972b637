"""Words of medical English that begin with a capital and name nobody: a list against false alarms.

A capital at a sentence's beginning or in a heading says nothing; these are the words that notes put
there. What is missing here costs a word that is hidden without need, and never one that is not.
"""

_WORDS = """
A Abdomen Abdominal About Above Acid Active Acute Addison Additionally Adjust Admission Admit
Admits Admitted Advair Advil Advised After Again Agree Agreed All Allergies Allergy Also Although
Alzheimer America American An And Ankle Any Apgar Appears Apply Appointment April Arm Arterial
Artery As Aspirin Assess Assessed Assessment Asthma At Ativan Augmentin August Babinski Back
Barrett Based Because Before Bell Benadryl Bence Best Bilateral Billroth Blood Body Bone Both Brain
Breast Breath British But By Call Called Cancer Cardiac Care Cell Central Cerebral Chart Check
Checked Chest Chief Christmas Chronic Cirrhosis Claritin Class Clear Clinic Clinical Code Cold
Colon Complains Complaint Complete Computed Condition Consent Consider Consult Consulted Contact
Continue Coronary Coumadin Count Course Covid Criteria Crohn Culture Currently Cushing Daily Data
Date Day Days Dear December Deep Denied Denies Department Depression Despite Diabetes Diagnosis
Diastolic Diet Discharge Discharged Discuss Discussed Disease Doppler Dose Down Dr Driving Due
During Ear Earlier Easter Ebola Ejection Eliquis Emergency English Ensure Epstein Escherichia
Evaluate Evaluated Evening Every Exam Examination Expected Eye Eyes Factor Failure Family Fasting
Fax February Feels Female Fever Fibrillation Finally Findings First Flonase Floor Focal Foley
Follow Follow-up For Fortunately Four Fraction French Friday From Full Function Further Ganz
Gastric General German Give Given Glasgow Global Glucose Go God Good Grade Gradual Gram Graves
Great Group Guillain Had Half Has Hashimoto Have He Head Health Heart Heimlich Helicobacter Hello
Hemoglobin Her Here High Hip His History Hodgkin Hold Holter Homan Home Hormone Hospital Hour House
How However Humalog Human Humira Huntington I If Image Imaging Impression In Increase Index
Infection Influenza Initial Injury Inpatient Insulin Insurance Intake Intensive Is Issue It Its
January Joint July June Kaposi Kegel Keytruda Kidney Knee Lab Laboratory Lantus Lasix Last Later
Latin Left Leg Lesion Level Lipitor Liver Living Logged Low Lower Lung Lungs Lyme Lymph Lyrica
Magnetic Major Male Management March Marfan Married Maximum May McBurney Mean Meanwhile Medicaid
Medical Medicare Medication Medications Medicine Member Mental Metformin Mild Minimal Minor Minute
Moderate Monday Monitor Month Morning Motor Motrin Mr Mrs Ms Murphy Muscle Myocardial Nasal Neck
Needs Negative Nerve Neuro Neurology Neurontin New Nexium Next Night Nissen No Node None Norco
Normal Not Note Noted November Novolog Now Number Nursing Obtained Occasional October Of Office On
Once One Oral Order Ordered Otherwise Our Outpatient Over Overall Oxygen Ozempic Pacemaker Pain
Parkinson Pathology Patient Pelvic Penicillin Pepcid Percocet Performed Period Physical Physician
Plan Plasma Plavix Please Pneumonia Positive Post Potassium Premature Prescribed Present Presents
Pressure Prilosec Primary Prior Problem Procedure Prognosis Progress Protein Provider Prozac
Pseudomonas Pulmonary Pulse Questions Radiology Range Rate Raynaud Reason Received Recently Recheck
Recommend Record Records Red Reduce Reed Referred Refill Regards Related Renal Repeat Report
Reports Requested Respiratory Result Results Resume Return Returns Review Reviewed Rheumatoid Right
Rinne Room Routine Roux Russian Sample Saturday Scale Scan Schedule Scheduled School Score Second
Section See Seen Sent Sepsis September Serum Service Severe She Shoulder Showed Shows Signed Signs
Since Sincerely Sinus Sjogren Skin Sleep Small Social Sodium Some Soon Spanish Spine Spoke Sputum
Stable Stage Start Started State States Status Stent Stomach Stop Stopped Strong Study Subjective
Sudden Sunday Support Surgery Surgical Swan Symptoms Syndrome Synthroid Systolic Take Taken Takes
Temperature Terminal Test Tests Thank Thanks Thanksgiving The Their Them Then Therapy There These
They This Three Thursday Thyroid Tissue To Today Tolerated Took Total Tourette Toxic Transfer
Transferred Trauma Treat Treated Treatment Trial Trousseau Tuesday Turner Two Tylenol Type Ulcer
Ultrasound Under Unfortunately Unit University Until Up Upon Upper Urine Use Using Valsalva Valve
Vascular Vein Ventolin Ventricular Verified Version Very Viral Virus Visit Vital Vitals Vitamin
Walks Ward Was Wednesday Week Weeks Weight Well Were Wernicke West What When Where Which While
Whipple White Who Will Wilms Wilson With Without Wolff Wound Write X-ray Xanax Xarelto Year Years
Yes Yesterday You Your Zika Zofran Zoloft Zyrtec
"""
COMMON_WORDS = frozenset(_WORDS.split())
